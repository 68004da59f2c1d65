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
# busybox has no flock; util-linux's with its libraries.
mkdir -p "$lower/lib64" "$lower/lib/x86_64-linux-gnu"
cp -L /usr/bin/flock "$lower/bin/flock"
cp -L /lib64/ld-linux-x86-64.so.2 "$lower/lib64/"
cp -L /lib/x86_64-linux-gnu/libc.so.6 "$lower/lib/x86_64-linux-gnu/"
cp /host/machine-init "$lower/init"
chmod 755 "$lower/init"
# A root as the builder leaves it (tests/lab/nfs_root.py).
root=$tree/srv/boot/roots/small/00112233445566aa
mkdir -p "$root" "$tree/srv/boot/kernels" "$tree/srv/boot/recipes"
mv /out/root "$root/tree"
cp /host/nfs-init.sh "$root/tree/sbin/init"
chmod 755 "$root/tree/sbin/init"
echo 'the first version' >"$root/tree/content"
echo tree >"$root/tree/etc/hostname"
cp /host/root.json "$root/"
ln -s "${root##*/}" "${root%/*}/current"
rm -f /out/disk.img
mke2fs -q -t ext4 -O ^has_journal -d "$tree" /out/disk.img 1500M
