#!/bin/sh
# Run in the appliance's image: makes /out/disk.img of its files, the lab's modules and /host.
set -eu
tree=$(mktemp -d)
cp -a /bin /etc /lib /lib64 /opt /root /sbin /srv /usr /var "$tree"
mkdir "$tree/host" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/run" "$tree/tmp"
cp /host/* "$tree/host"
chmod 755 "$tree/host/init" "$tree/host/container"
cp -r /out/server/modules "$tree/usr/lib/modules"
cp /out/server/busybox "$tree/usr/bin/busybox"
ln -sf ../bin/busybox "$tree/usr/sbin/modprobe"
# What all machines' layers stand on.
lower=$tree/srv/boot/lower
mkdir -p "$lower/bin" "$lower/dev" "$lower/proc"
cp /out/server/busybox "$lower/bin/busybox"
cp /host/machine-init "$lower/init"
chmod 755 "$lower/init"
rm -f /out/disk.img
mke2fs -q -t ext4 -O ^has_journal -d "$tree" /out/disk.img 1500M
