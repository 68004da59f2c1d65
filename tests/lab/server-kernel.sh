#!/bin/sh
# Debian's cloud kernel for a virtual server: server-kernel.sh OUTDIR, after demo-kernel.sh, which left
# the package unpacked.
#
# OUTDIR gets vmlinuz, initrd.gz, which mounts the first disk and goes on with its /host/init, and
# modules/, what a server of NFS and its host load, uncompressed, as busybox's modprobe knows no xz; with
# tcp_diag, by which ss asks on every host, instead of reading less in /proc.
set -eu

outdir=$1 unpacked=/unpacked/amd64 tables=$(mktemp -d) first=$(mktemp -d)
wanted='virtio_blk virtio_net nfsd overlay loop xfs tcp_diag'

mkdir -p "$outdir"
cd "$unpacked"
version=$(ls lib/modules)
cp "boot/vmlinuz-$version" "$outdir/vmlinuz"
for module in $wanted; do
    modprobe --dirname . --set-version "$version" --show-depends "$module"
done | sed -n 's/^insmod //p' | sort -u | while read -r module; do
    copy=$outdir/modules/${module#*/lib/modules/}
    mkdir -p "${copy%/*}"
    xz --decompress --stdout "$module" >"${copy%.xz}"
done
cp "lib/modules/$version"/modules.builtin* "lib/modules/$version/modules.order" \
    "$outdir/modules/$version/"
mkdir "$tables/lib"
ln -s "$outdir/modules" "$tables/lib/modules"
depmod --basedir "$tables" "$version"

# ext4 and the bus are built in, the disk is not.
mkdir -p "$first/bin" "$first/root" "$first/dev" "$first/proc"
cp "$(command -v busybox)" "$first/bin/busybox"
cp "$(find "$outdir/modules" -name virtio_blk.ko)" "$first/"
cat >"$first/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox insmod /virtio_blk.ko
/bin/busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /host/init
END
chmod 755 "$first/init"
cp "$(command -v busybox)" "$outdir/busybox"
cd "$first"
find . | cpio --quiet --create --format newc --owner 0:0 | gzip -9n >"$outdir/initrd.gz"
