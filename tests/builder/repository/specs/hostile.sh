#!/bin/bash
# Tries to leave its tree, and prints `ESCAPED what` for each way that worked.
# Usage: hostile.sh [outside]: `outside`, it was started behind the chroot, in the sandbox's root.
where=${1:-inside}
b=/usr/bin/busybox
[ "$where" = outside ] && b=/tree/usr/bin/busybox
[ -x $b ] || b=/bin/busybox
w=/tmp

try() {
    what=$1; shift
    if "$@" > /dev/null 2>&1; then echo "ESCAPED $where: $what"; else echo "held $where: $what"; fi
}

# What the test laid out in the volume has `victim` in its name.
try "see another's files" sh -c "$b find / -name '*victim*' -print 2> /dev/null | $b grep -q ."
for place in /srv/boot/roots /srv/boot/kernels /srv/boot/recipes /srv/boot/requests \
        /srv/boot/published /var/cache/rootfs-builder /var/lib/bootdrop /run/secrets \
        /run/docker.sock /var/run/docker.sock /root/.ssh/id_rsa; do
    try "reach $place" test -e $place
done

if [ "$where" = outside ]; then
    for place in / /usr /usr/bin /usr/lib/rootfs-builder /etc /etc/rpm /config /root/.config/rpm \
            /proc /sys; do
        try "write to $place" $b touch $place/escaped
    done
    try "change a program" sh -c "echo x >> /usr/bin/rpm"
    try "change the configuration" sh -c "echo x >> /etc/passwd"
    try "change what rpm runs" sh -c "echo x >> /root/.config/rpm/macros"
    try "change the keys" sh -c "echo x >> /config/keys/1.asc"
fi

for name in kernel/core_pattern kernel/modprobe kernel/hostname vm/drop_caches fs/suid_dumpable \
        net/ipv4/ip_forward user/max_user_namespaces; do
    try "write /proc/sys/$name" sh -c "$b cat /proc/sys/$name > $w/value &&
        $b cat $w/value > /proc/sys/$name"
done
try "sysrq" sh -c 'echo h > /proc/sysrq-trigger'
try "read the kernel's memory" sh -c "test -n \"\$($b head -c 1 /proc/kcore)\""
try "write to sysfs" sh -c 'echo /x > /sys/kernel/uevent_helper'
try "change a device's settings" sh -c 'for f in /sys/block/*/queue/nr_requests; do echo 64 > $f; done'

for kind in "b 7 0" "b 8 0" "b 253 0" "b 254 0" "b 259 0" "c 1 1" "c 1 2" "c 10 200" "c 10 229"; do
    $b mknod $w/device $kind 2> /dev/null
    try "make a device: $kind" test -e $w/device
    try "read a device: $kind" sh -c "test -n \"\$($b head -c 1 $w/device)\""
    $b rm -f $w/device
done
for device in mem kmsg fuse kvm net/tun vda sda loop0 loop-control; do
    try "open /dev/$device" $b head -c 1 /dev/$device
done

try "mount a tmpfs" $b mount -t tmpfs none $w
try "mount proc" $b mount -t proc none $w
try "remount /proc/sys writable" $b mount -o remount,rw,bind /proc/sys
try "remount the root writable" $b mount -o remount,rw,bind /
try "unmount /proc/sys" $b umount /proc/sys
try "a user namespace" $b unshare -U true
try "a user namespace with a mount" $b unshare -U -r -m $b mount -t tmpfs none $w
try "a mount namespace" $b unshare -m true
try "another's namespace" $b nsenter -t 1 -m true
try "a new host name" $b hostname escaped
try "see the builder's process" sh -c "$b grep -l '[r]ootfs_builder' /proc/[0-9]*/cmdline"
try "have a network" sh -c "$b ip addr | $b grep 'inet ' | $b grep -v 127.0.0.1 | $b grep -q inet"
for host in repository 172.17.0.1 192.168.10.1; do
    for port in 80 2375; do
        try "connect to $host:$port" $b timeout 2 $b nc -z -w 1 $host $port
    done
done
try "insert a module" $b insmod $w/none.ko

if [ "$where" = inside ]; then
    # Is it out? There is /tree only behind the chroot. Then the same from there.
    /usr/libexec/escape /tree/usr/bin/busybox sh -c "test -d /tree && echo came out" &&
        /usr/libexec/escape /tree/usr/bin/busybox sh /tree/usr/libexec/hostile.sh outside
    $b rmdir /.out
    echo "hostile done"
fi
exit 0
