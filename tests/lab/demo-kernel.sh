#!/bin/sh
# Debian's cloud kernel as a user would drop it: demo-kernel.sh OUTDIR ARCHITECTURE
#
# OUTDIR gets vmlinuz-V and modules-V.cpio.gz, the drivers of virtual network cards with what they
# depend on, uncompressed, as the rescue root's modprobe knows no xz. The whole package stays
# unpacked in /unpacked/ARCHITECTURE, for nfs-initrds.sh and server-kernel.sh.
set -eu

outdir=$1 architecture=$2 fetched=/unpacked/$2 layer=$(mktemp -d)
cards='virtio_net e1000 e1000e igb igbvf ixgbevf vmxnet3 ena hv_netvsc gve mana xen-netfront'

mkdir -p "$outdir" "$fetched"
cd "$fetched"
dpkg --add-architecture "$architecture"
apt-get update -q
# The metapackage names the kernel of the day.
package=$(apt-cache depends --important "linux-image-cloud-$architecture:$architecture" |
    sed -n 's/.*Depends: \(linux-image-[0-9][^ :]*\).*/\1/p')
apt-get download -q "$package:$architecture"
dpkg-deb -x ./*.deb .
version=${package#linux-image-}
cp "boot/vmlinuz-$version" "$outdir/"

# Older packages have /lib, newer ones /usr/lib; depmod and modprobe look below /lib.
[ -d lib/modules ] || { mkdir -p lib && mv usr/lib/modules lib/; }
depmod --basedir . "$version"
for card in $cards; do
    # A card that this package has no driver for is left out.
    modprobe --dirname . --set-version "$version" --show-depends "$card" 2>/dev/null || continue
done | sed -n 's/^insmod //p' | sort -u | while read -r module; do
    copy=$layer/lib/modules/${module#*/lib/modules/}
    mkdir -p "${copy%/*}"
    case $module in
        *.xz) xz --decompress --stdout "$module" >"${copy%.xz}" ;;
        *) cp "$module" "$copy" ;;
    esac
done
cp "lib/modules/$version"/modules.builtin* "lib/modules/$version/modules.order" \
    "$layer/lib/modules/$version/"
depmod --basedir "$layer" "$version"
# busybox reads the text tables.
rm -f "$layer/lib/modules/$version"/modules.*.bin
cd "$layer"
find lib | sort | cpio --quiet --create --format newc --owner 0:0 | gzip -9n \
    >"$outdir/modules-$version.cpio.gz"
# An empty layer boots to a shell without a network: find out here instead.
gzip -dc "$outdir/modules-$version.cpio.gz" | cpio --quiet --list | grep -q '/virtio_net\.ko$'
