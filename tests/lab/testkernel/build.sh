#!/bin/sh
# Build the lab's test kernels: build.sh SOURCE_TAR FRAGMENTS OUTDIR
#
# SOURCE_TAR  Debian's linux-source-X.Y.tar.xz
# FRAGMENTS   the folder with fragment.config and noroot.config
# OUTDIR      gets bzImage-V-labtest, bzImage-V-noroot, config-V-labtest, modules-V-labtest.tar.zst
set -eu

source_tar=$1 fragments=$(realpath "$2") outdir=$(realpath "$3")
jobs=$(nproc)

export SOURCE_DATE_EPOCH=1735689600
export KBUILD_BUILD_TIMESTAMP='2025-01-01 00:00:00 UTC' KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=bootdrop KBUILD_BUILD_HOST=lab

# Kconfig and make read the whole tree, the compiler only a part of it: the sources of the large
# subsystems that an x86 test kernel never has stay in the tar.
unpack() {
    tar --extract --file "$source_tar" --strip-components 1 --wildcards \
        --exclude 'linux-source-*/Documentation/*/*' \
        --exclude 'linux-source-*/drivers/gpu/*.[ch]' \
        --exclude 'linux-source-*/drivers/media/*.[ch]' \
        --exclude 'linux-source-*/drivers/staging/*.[ch]' \
        --exclude 'linux-source-*/sound/*.[ch]' \
        --exclude 'linux-source-*/tools/testing/*'
}

# Kconfig drops without a word what a missing dependency forbids.
check() {
    dropped=$(grep -v -E '^(# [^C]|#?$)' "$1" | while read -r line; do
        case $line in
            '# CONFIG_'*' is not set') option=${line#\# } && option=${option%% *}
                ! grep -q "^$option=" .config || echo "  wants $line" ;;
            CONFIG_*) grep -q -x -F "$line" .config || echo "  wants $line" ;;
        esac
    done)
    [ -z "$dropped" ] || {
        printf '%s: not in the .config that Kconfig made:\n%s\n' "$1" "$dropped" >&2
        exit 1
    }
}

merge() { # merge FRAGMENT: over the .config that is there
    scripts/kconfig/merge_config.sh -m .config "$1" >/dev/null
    make -s olddefconfig
    check "$1"
}

unpack
make -s tinyconfig
merge "$fragments/fragment.config"
make -s -j"$jobs" bzImage modules
release=$(make -s kernelrelease)
cp arch/x86/boot/bzImage "$outdir/bzImage-$release"
cp .config "$outdir/config-$release"

layer=$(mktemp -d)
make -s modules_install INSTALL_MOD_PATH="$layer" INSTALL_MOD_STRIP=1
rm -f "$layer/lib/modules/$release/build" "$layer/lib/modules/$release/source"
tar --create --directory "$layer" --sort name --mtime "@$SOURCE_DATE_EPOCH" \
    --owner 0 --group 0 --numeric-owner lib | zstd -q -19 -o "$outdir/modules-$release.tar.zst"

merge "$fragments/noroot.config"
make -s -j"$jobs" bzImage
cp arch/x86/boot/bzImage "$outdir/bzImage-$(make -s kernelrelease)"
