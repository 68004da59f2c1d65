#!/bin/sh
# The smallest root: one static busybox, its names, and an init that gives a shell.
# Usage: busybox.sh TAR
set -eu
tree=$(mktemp -d)
cd "$tree"
mkdir -p bin sbin usr/bin usr/sbin etc/init.d dev proc sys tmp root run var
chmod 755 .
chmod 1777 tmp
cp /usr/bin/busybox bin/busybox
for applet in $(bin/busybox --list-full); do
    case $applet in
        bin/busybox) ;;
        linuxrc) ;; # of initrds before 2.6
        *) mkdir -p "${applet%/*}" && ln -s /bin/busybox "$applet" ;;
    esac
done
[ -e sbin/init ] || ln -s /bin/busybox sbin/init
printf 'root::0:0:root:/root:/bin/sh\n' > etc/passwd
printf 'root:*:19000:0:99999:7:::\n' > etc/shadow
chmod 600 etc/shadow
printf 'root:x:0:\n' > etc/group
printf '::sysinit:/etc/init.d/rcS\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r\n' \
    > etc/inittab
printf 'console::respawn:-/bin/sh\n' >> etc/inittab
cat > etc/init.d/rcS <<'RC'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
hostname -F /etc/hostname 2>/dev/null
RC
chmod 755 etc/init.d/rcS
printf 'busybox\n' > etc/hostname
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$1" .
