#!/bin/sh
# Makes /srv/{good,bad,unsigned,stranger,meddler} and /srv/keys.
set -eu

key() {  # NAME: a signing key, its public half in /srv/keys
    gpg --batch --quiet --passphrase '' --quick-generate-key "$1 <$1@example.org>" rsa3072 sign never
    gpg --armor --export "$1" > "/srv/keys/$1.asc"
}

sign() {  # KEY RPM...
    name=$1; shift
    rpmsign --define "_gpg_name $name" --addsign "$@" > /dev/null
}

index() {  # FOLDER KEY
    createrepo_c --quiet "$1"
    rm -f "$1/repodata/repomd.xml.asc"
    gpg --batch --quiet --local-user "$2" --detach-sign --armor "$1/repodata/repomd.xml"
    cp "/srv/keys/$2.asc" "$1/repodata/repomd.xml.key"
}

mkdir -p /srv/keys /srv/good /srv/bad /srv/unsigned /srv/stranger /debs
key good
key other

# A real bash with what it needs. alien keeps no dependencies but sonames, which rpm finds itself.
cd /debs
apt-get download -q bash busybox-static coreutils libacl1 libattr1 libc6 libcap2 libgmp10 \
    libpcre2-8-0 libselinux1 libssl3t64 libsystemd0 libtinfo6 libzstd1 zlib1g
for deb in *.deb; do
    alien --to-rpm --keep-version --target=x86_64 "$deb" > /dev/null
done
mv ./*.rpm /srv/good

for spec in /specs/*.spec; do
    case $spec in */foreign.spec) target=aarch64 ;; *) target=x86_64 ;; esac
    rpmbuild --target "$target" -bb --quiet --define "_topdir /build" --define "_build_name_fmt %%{NAME}.rpm" "$spec" > /dev/null
done
for folder in good bad; do
    for spec in $(grep -l "^# repository: $folder" /specs/*.spec); do
        name=$(basename "$spec" .spec)
        mv "/build/RPMS/$name.rpm" "/srv/$folder/"
    done
done
sign good /srv/good/*.rpm /srv/bad/*.rpm

cp /build/RPMS/unsigned.rpm /srv/unsigned/
cp /build/RPMS/unsigned.rpm /srv/stranger/stranger.rpm
sign other /srv/stranger/stranger.rpm
for folder in good bad unsigned; do index "/srv/$folder" good; done
index /srv/stranger other
