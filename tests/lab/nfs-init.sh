#!/bin/sh
# /sbin/init of the tests' root over NFS: says on the console where it runs, then does what is typed
# there: each line is a command of the shell; `BEGIN n` goes before what it prints, and
# `END n STATUS` after it. As the tests' evidence counts what the server has, files are synced.
PATH=/bin:/sbin
export PATH
# An initramfs may have brought them.
[ -e /proc/mounts ] || mount -t proc proc /proc
grep -q ' /sys ' /proc/mounts || mount -t sysfs sys /sys
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs dev /dev
grep -q ' /run ' /proc/mounts || mount -t tmpfs run /run
exec </dev/console >/dev/console 2>&1
# Without an echo all that the console shows is an answer; the kernel's own words are in dmesg.
stty -echo
dmesg -n 1
# A root of its own has a name of its own; one that everybody shares has none.
[ "$(hostname)" != '(none)' ] || [ ! -s /etc/hostname ] || hostname -F /etc/hostname

# Where a file system comes from, its type and its options: of(MOUNTPOINT).
of() {
    grep " $1 " /proc/mounts | tail -n 1 | cut -d ' ' -f 1,3,4
}

# write FILE TEXT: as one line, and on the server's side before this returns.
write() {
    echo "$2" >"$1" && sync "$1" "${1%/*}/"
}

# fill FILE MIB: bytes that no server can guess; prints their checksum.
fill() {
    dd if=/dev/urandom bs=1M count="$2" 2>/dev/null | tee "$1" | sha256sum | cut -d ' ' -f 1
    sync "$1"
}

# sum FILE: as the server has it now, not as this machine remembers it.
sum() {
    echo 3 >/proc/sys/vm/drop_caches
    sha256sum "$1" | cut -d ' ' -f 1
}

# hold FILE: opens it and takes its lock, both for good; fails when another has the lock.
hold() {
    exec 7>>"$1" && flock -n 7
}

# is_free FILE: whether its lock can be had; this one is given back at once.
is_free() {
    flock -n "$1" true
}

# acknowledge DIR: in the background, block after block, each with its checksum on the console once
# fsync of the file and of its folder has returned: `ACK DIR/n SHA256`.
acknowledge() {
    mkdir -p "$1"
    (
        number=0
        while number=$((number + 1)); do
            dd if=/dev/urandom of=/run/block bs=64k count=1 2>/dev/null
            checksum=$(sha256sum /run/block | cut -d ' ' -f 1)
            dd if=/run/block of="$1/$number" bs=64k conv=fsync 2>/dev/null &&
                sync "$1/" && echo "ACK $1/$number $checksum"
        done
    ) &
    acknowledging=$!
}

# stop: ends what `acknowledge` began.
stop() {
    kill "$acknowledging" && wait "$acknowledging"
    true
}

# off, again: power off and reboot, with all that is written on the server.
off() {
    sync && poweroff -f
}
again() {
    sync && reboot -f
}

echo "NFS: root $(of /)"
echo "NFS: name $(hostname) machine-id $(cat /etc/machine-id 2>&1) content $(cat /content 2>&1)"
echo "NFS: init $$"
number=0
while IFS= read -r line; do
    number=$((number + 1))
    echo "BEGIN $number"
    eval "$line"
    echo "END $number $?"
done
