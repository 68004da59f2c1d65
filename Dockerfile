# The appliance. Stages: what pip brings, what firmware loads, the rescue root, and the image.

FROM debian:trixie-slim AS python-packages
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update -q && apt-get install -qy --no-install-recommends python3-venv
COPY requirements.lock /
# A host whose way out inspects TLS has a CA bundle of its own: --secret id=ca_bundle,src=FILE
RUN --mount=type=secret,id=ca_bundle --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python3 -m venv --without-pip /opt/venv \
 && python3 -m venv /opt/pip \
 && /opt/pip/bin/pip --python /opt/venv/bin/python install --disable-pip-version-check \
    --no-compile --require-hashes -r requirements.lock

FROM debian:trixie-slim AS loaders
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update -q && mkdir /fetched /loaders && cd /fetched \
 && apt-get download -q ipxe pxelinux syslinux-common \
 && for package in *.deb; do dpkg-deb -x "$package" .; done \
 && cd usr/lib/ipxe && cp undionly.kpxe snponly.efi ipxe-arm64.efi /loaders/ && cd /fetched \
 && cp usr/lib/PXELINUX/pxelinux.0 /loaders/ \
 && cd usr/lib/syslinux/modules/bios && cp ldlinux.c32 libutil.c32 menu.c32 /loaders/

FROM debian:trixie-slim AS rescue
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update -q && apt-get install -qy --no-install-recommends \
    busybox-static cpio e2fsprogs pigz
# For another architecture the same tree around its own busybox.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    dpkg --add-architecture arm64 && apt-get update -q && mkdir /arm64 && cd /arm64 \
 && apt-get download -q busybox-static:arm64 && dpkg-deb -x busybox-static_*.deb .
COPY config/rescue /rescue
RUN sh /rescue/build.sh /out/x86_64 "$(command -v busybox)" \
 && sh /rescue/build.sh /out/arm64 /arm64/usr/bin/busybox
# What lays a machine's memory over a root that it mounts read-only.
COPY config/overlay-init /overlay-init
RUN install -D -t /overlays/x86_64 /overlay-init/overlay-init "$(command -v busybox)" \
 && install -D -t /overlays/arm64 /overlay-init/overlay-init /arm64/usr/bin/busybox

FROM debian:trixie-slim
# python3 runs the orchestrator and neopxe; iproute2 reads the interfaces; libnfs-utils looks
# at exports by hand and in tests; openssh-client makes the host keys of machines' clones.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update -q && apt-get install -qy --no-install-recommends \
    e2fsprogs iproute2 isc-dhcp-server libnfs-utils nfs-ganesha-vfs nfs-kernel-server nginx-light \
    openssh-client python3 radvd rarpd rpcbind tftpd-hpa \
 && rm -rf /var/lib/apt/lists/* /var/lib/dhcp/* /usr/share/doc /usr/share/man \
 && for user in dhcpd neopxe rarpd; do \
      useradd --system --no-create-home --shell /usr/sbin/nologin "$user"; \
    done \
 && mkdir -p /srv/boot /var/lib/bootdrop /etc/bootdrop \
 && for file in ethers hosts.deny nfs.conf; do ln -sf "/run/bootdrop/etc/$file" /etc/; done
COPY --from=python-packages /opt/venv /opt/venv
COPY --from=loaders /loaders /usr/lib/bootdrop/loaders
COPY --from=rescue /out /usr/lib/bootdrop/rescue
COPY --from=rescue /overlays /usr/lib/bootdrop/overlay-init
COPY config /usr/share/bootdrop/config
COPY rootfs-builder/recipes /usr/share/bootdrop/recipes
COPY appliance /usr/lib/bootdrop/python/appliance
# Compiled here, as the root file system is read-only later.
RUN /opt/venv/bin/python -m compileall -q /opt/venv/lib /usr/lib/bootdrop/python \
 && for verb in bootdrop:appliance.cli neopxe:appliance.neopxe; do \
      printf '#!/bin/sh\nexec /opt/venv/bin/python -m %s "$@"\n' "${verb#*:}" \
        > "/usr/bin/${verb%:*}" && chmod 755 "/usr/bin/${verb%:*}"; \
    done
ENV PYTHONPATH=/usr/lib/bootdrop/python PYTHONDONTWRITEBYTECODE=1
# Degraded is unhealthy. Docker restarts nothing for that; it shows it, and Swarm or a monitor act.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=2 \
    CMD ["perl", "/usr/share/bootdrop/config/healthcheck.pl"]
CMD ["bootdrop", "start"]
