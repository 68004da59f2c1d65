#!/bin/sh
# Build the rescue root around a static busybox: build.sh OUTDIR BUSYBOX
#
# BUSYBOX may be of another architecture: which applets it has is asked of the installed one, of the
# same Debian release.
# OUTDIR gets rescue.cpio.gz, rescue.ext2.gz and rescue.json (ramdisk_size in KiB, and of each
# file its size in bytes and its SHA-256). The same input gives the same bytes. Needs
# busybox-static, cpio, e2fsprogs >= 1.47.1 (Debian 13: its `mke2fs -d` sorts), and CAP_MKNOD.
set -eu

RAMDISK_SIZE=8192 # KiB; about 5 MiB of it are free
FILESYSTEM_UUID=b007d409-0000-4000-8000-000000000001
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1735689600}" LC_ALL=C
umask 022

busybox=$2
source=$(dirname "$(realpath "$0")")/root
mkdir -p "$1"
outdir=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

make_tree() {
    mkdir -p "$tree"
    for folder in bin dev etc lib/modules mnt proc root run sys tmp usr; do
        mkdir -p "$tree/$folder"
    done
    ln -s bin "$tree/sbin"
    ln -s ../bin "$tree/usr/bin"
    ln -s ../bin "$tree/usr/sbin"
    cp -R "$source/." "$tree"
    chmod -R u=rwX,go=rX "$tree"
    chmod 755 "$tree/init" "$tree/etc/udhcpc/default.script" "$tree/bin/lspci"
    chmod 1777 "$tree/tmp"
    cp "$busybox" "$tree/bin/busybox"
    ln -s ../init "$tree/bin/init"
    for applet in $(busybox --list); do
        [ -e "$tree/bin/$applet" ] || [ -L "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"
    done
    make_nodes
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# For kernels without devtmpfs, and for the console that the kernel opens before /init can mount
# anything. Numbers: Documentation/admin-guide/devices.txt.
make_nodes() {
    while read -r name major minor; do
        mknod -m 600 "$tree/dev/$name" c "$major" "$minor"
    done <<NODES
console 5 1
kmsg 1 11
null 1 3
ptmx 5 2
random 1 8
tty 5 0
tty0 4 0
tty1 4 1
ttyS0 4 64
ttyS1 4 65
ttyAMA0 204 64
urandom 1 9
zero 1 5
NODES
}

make_cpio() {
    (cd "$tree" && find . -mindepth 1 -printf '%P\n' | sort |
        cpio --quiet --create --format newc --reproducible --owner +0:+0) >"$work/rescue.cpio"
}

make_ext2() {
    mke2fs -q -t ext2 -b 1024 -m 0 -L rescue -U "$FILESYSTEM_UUID" \
        -E "hash_seed=$FILESYSTEM_UUID,root_owner=0:0" -O ^resize_inode \
        -d "$tree" "$work/rescue.ext2" "$RAMDISK_SIZE"
}

describe() { # describe FILE: one member of "files"
    printf '    "%s": {"size": %d, "sha256": "%s"}' \
        "$1" "$(stat -c %s "$outdir/$1")" "$(sha256sum <"$outdir/$1" | cut -d ' ' -f 1)"
}

make_tree
make_cpio
make_ext2
gzip -n -9 <"$work/rescue.cpio" >"$outdir/rescue.cpio.gz"
gzip -n -9 <"$work/rescue.ext2" >"$outdir/rescue.ext2.gz"
printf '{\n  "ramdisk_size": %d,\n  "files": {\n%s,\n%s\n  }\n}\n' "$RAMDISK_SIZE" \
    "$(describe rescue.cpio.gz)" "$(describe rescue.ext2.gz)" >"$outdir/rescue.json"
