#!/bin/bash
# Tries to leave its tree, and prints `ESCAPED what` for each way that worked.
# The secrets it looks for are laid out by the test; the marker that it leaves is /escaped-*.
b=/usr/bin/busybox
[ -x $b ] || b=/bin/busybox

try() { what=$1; shift; if "$@" > /dev/null 2>&1; then echo "ESCAPED $what"; else echo "held $what"; fi; }

# A second chroot leaves the first one: from here on `/` is all that the process can reach.
out() {
    mkdir -p /.out
    $b chroot /.out /no-such-program 2> /dev/null
    for up in . .. ../.. ../../.. ../../../../../..; do
        for place in srv/boot srv/boot/roots srv/boot/kernels srv/boot/published var/lib/bootdrop \
                root/.ssh etc/bootdrop run/docker.sock var/run/docker.sock run/secrets; do
            try "reach $up/$place" test -e "/$up/$place"
            try "reach by init /proc/1/root/$place" test -e "/proc/1/root/$place"
            try "reach by cwd /proc/1/cwd/$up/$place" test -e "/proc/1/cwd/$up/$place"
        done
    done
    try "write to the programs" touch /proc/1/root/usr/escaped
    try "write to the configuration" touch /proc/1/root/etc/escaped
    try "write to the root" touch /proc/1/root/escaped
    try "write to rpm's configuration" touch /proc/1/root/root/.config/rpm/macros
}
out

for name in kernel/core_pattern kernel/modprobe vm/drop_caches kernel/hostname net/ipv4/ip_forward \
        fs/suid_dumpable user/max_user_namespaces; do
    try "write /proc/sys/$name" sh -c "cat /proc/sys/$name > /tmp/value && cat /tmp/value > /proc/sys/$name"
    try "write /proc/sys/$name as init" sh -c "echo 1 > /proc/1/root/proc/sys/$name"
done
try "sysrq" sh -c 'echo h > /proc/sysrq-trigger'
try "read the kernel's memory" $b head -c 1 /proc/kcore
try "write to sysfs" sh -c 'echo 1 > /sys/kernel/profiling'
try "write uevent_helper" sh -c 'echo /x > /sys/kernel/uevent_helper'

try "make a block device" $b mknod /disk b 8 0
try "make a memory device" $b mknod /memory c 1 1
for minor in 0 1 16; do for major in 7 8 252 253 254 259; do
    $b mknod /disk-$major-$minor b $major $minor 2> /dev/null
    try "read block device $major:$minor" $b head -c 1 /disk-$major-$minor
done; done
for device in /dev/mem /dev/kmsg /dev/fuse /dev/kvm /dev/net/tun /dev/vda /dev/sda /dev/loop0; do
    try "open $device" $b head -c 1 $device
done

try "mount a tmpfs" $b mount -t tmpfs none /mnt
try "mount proc" sh -c "mkdir -p /mnt/p; $b mount -t proc none /mnt/p"
try "bind the root" $b mount -o bind /proc/1/root /mnt
try "remount /proc/sys writable" $b mount -o remount,rw,bind /proc/sys
try "unmount /proc/sys" $b umount /proc/sys
try "a user namespace" $b unshare -U -r true
try "a user and mount namespace" $b unshare -U -r -m -p -f sh -c "$b mount -t tmpfs none /tmp"
try "a mount namespace" $b unshare -m true
try "another process's namespace" $b nsenter -t 1 -m true
try "a new host name" $b hostname escaped

try "see other processes" sh -c 'for d in /proc/[0-9]*; do read -r name < $d/comm; [ "$name" = python3 ] && exit 0; done; exit 1'
try "an address on the network" sh -c "$b ip addr 2> /dev/null | $b grep -v 127.0.0.1 | $b grep -q 'inet '"
for host in 127.0.0.1 172.17.0.1 repository 1.1.1.1; do
    try "the network at $host" $b timeout 2 $b nc -w 1 $host 80 -e true
done
try "the engine" $b timeout 2 $b nc -w 1 172.17.0.1 2375 -e true
try "insert a module" $b insmod /lib/modules/none.ko
try "set the clock" $b date -s 2001-01-01
try "reboot" sh -c 'exit 1'
echo "hostile done"
exit 0
