#!/bin/sh
# What a diskless Debian boots by: nfs-initrds.sh OUTDIR, in the image that has demo-kernel.sh's tree
#
# OUTDIR gets {dracut,initramfs-tools}/initrd.img-V for the demo's kernel, each as its distribution
# makes it for any machine, with the drivers of the lab's cards alone: of all drivers, they would be
# three times the size. `root` is what tests/lab/nfs_root.py makes roots of.
set -eu

outdir=$1
version=$(ls /lib/modules)
mkdir -p "$outdir/dracut" "$outdir/initramfs-tools"

# rpcrdma would bring every InfiniBand card. `nfs` is what root=nfs: needs, its network-legacy
# what ip= needs; systemd in the initrd would take as long again without KVM.
dracut --quiet --no-hostonly --no-hostonly-cmdline --no-early-microcode --kver "$version" --zstd \
    --modules 'base network network-legacy nfs udev-rules' \
    --drivers 'virtio_net e1000 e1000e af_packet nfs nfsv3 nfsv4 overlay' --omit-drivers rpcrdma \
    "$outdir/dracut/initrd.img-$version"

configuration=$(mktemp -d)
cp -r /etc/initramfs-tools/. "$configuration"
printf '%s\n' MODULES=list BUSYBOX=n BOOT=nfs COMPRESS=zstd >>"$configuration/initramfs.conf"
printf '%s\n' virtio_pci virtio_net e1000 e1000e af_packet nfs nfsv3 nfsv4 overlay \
    >"$configuration/modules"
mkinitramfs -d "$configuration" -o "$outdir/initramfs-tools/initrd.img-$version" "$version"
chmod 644 "$outdir"/*/initrd.img-*

# Static busybox, and what it lacks: flock, with the C library that it needs.
root=$outdir/root
mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/dev" "$root/proc" "$root/sys" "$root/run" \
    "$root/tmp" "$root/mnt" "$root/usr/lib" "$root/var"
ln -s usr/lib "$root/lib"
cp /bin/busybox "$root/bin/"
for applet in $(busybox --list); do
    ln -s busybox "$root/bin/$applet" 2>/dev/null || continue # itself
done
ldd /usr/bin/flock | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
rm "$root/bin/flock" 2>/dev/null || true
cp /usr/bin/flock "$root/bin/"
printf 'root::0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
