# Builds one root file system and fetches its kernel, inside a namespace of its own.
#
# The caller (namespace.rs) made this shell PID 1 of a fresh PID namespace, and root of a
# fresh user namespace where the caller is not root. When it dies, everything here dies.
#
# Given by the environment, all paths absolute:
#   PYRO_PARTIAL        the directory that may be written to
#   PYRO_INCLUDE        packages, with commas
#   PYRO_SOURCES        one apt line per source, for the build
#   PYRO_GUEST_SOURCES  the same as the guest shall know them
#   PYRO_KERNEL         the kernel's meta package
#   PYRO_IMAGE_SIZE, PYRO_IMAGE_ARGUMENTS, PYRO_IMAGE_CONFIG  for mke2fs
#   PYRO_SUITE          the Debian release
#
# A line on standard output that starts with "PYRO: " names the step that begins.

set -eu
umask 022
cd "$PYRO_PARTIAL"
root=$PYRO_PARTIAL/root
mkdir -p tmp debs unpacked
export TMPDIR="$PYRO_PARTIAL/tmp"

# Runs as a hook, because only there apt already knows the guest's package lists. The
# kernel is downloaded and not installed: it would bring initramfs-tools along.
# The meta package's one dependency on a linux-image-* names the kernel of today.
export PYRO_FETCH_KERNEL='
set -eu
cd "$PYRO_PARTIAL/debs"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
echo "PYRO: kernel"
image=$(apt-cache depends "$PYRO_KERNEL" | sed -n "s/^ *Depends: *\(linux-image-[^ ]*\)$/\1/p" | head -n 1)
test -n "$image" || { echo "E: $PYRO_KERNEL depends on no linux-image-*" >&2; exit 1; }
apt-get -q -o APT::Sandbox::User=root download "$image"
'

# Written by the setup hook and deleted below, unlike --aptopt which stays in the image.
# Without the timeout a black hole for a mirror costs two minutes per file.
export PYRO_APT_OPTIONS='
printf "%s\n" "Acquire::http::Timeout \"30\";" "Acquire::https::Timeout \"30\";" "Acquire::Retries \"2\";" \
    > "$1/etc/apt/apt.conf.d/00pyro-build"
'

# The host's apt may reach its mirror through a proxy only.
if test -z "${http_proxy:-}"; then
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    case ${http_proxy:-} in http*) export http_proxy ;; *) unset http_proxy ;; esac
fi

# Without this, `usrmerge` is installed for a job that is done already, and Perl with it.
merged_hooks=/usr/share/mmdebstrap/hooks/merged-usr
merged=
include=$PYRO_INCLUDE
if test -d "$merged_hooks"; then
    merged=--hook-dir=$merged_hooks
    include=$include,usr-is-merged
fi

# Documentation costs a third of the image and nobody reads it in a throw-away machine;
# the copyright files stay, as licences ask. The options stay too, so that what the guest
# installs later is as lean, and quick: its disk is thrown away, so dpkg need not sync.
echo "PYRO: bootstrap"
# shellcheck disable=SC2086,SC2016
printf '%s\n' "$PYRO_SOURCES" | mmdebstrap \
    --mode=root --format=directory --variant=minbase --architectures=amd64 \
    --include="$include" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --dpkgopt='force-unsafe-io' \
    $merged \
    --setup-hook='eval "$PYRO_APT_OPTIONS"' \
    --customize-hook='eval "$PYRO_FETCH_KERNEL"' \
    --skip=output/dev \
    "$PYRO_SUITE" "$root" -

echo "PYRO: tidy"
dpkg-query --admindir="$root/var/lib/dpkg" -W > packages.txt
find "$root/dev" "$root/run" "$root/tmp" -xdev -mindepth 1 -delete
rm -f "$root/etc/apt/apt.conf.d/00pyro-build" "$root/usr/sbin/policy-rc.d" \
    "$root/etc/apt/sources.list" "$root/etc/.pwd.lock" "$root/etc/resolv.conf" \
    "$root/etc/hostname" "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" \
    "$root"/etc/*- "$root/var/cache/ldconfig/aux-cache"
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin \
    "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/debconf/*-old
find "$root/var/log" -type f -exec truncate -s 0 {} +
printf '%s\n' "$PYRO_GUEST_SOURCES" > "$root/etc/apt/sources.list"
printf 'Acquire::Languages "none";\n' > "$root/etc/apt/apt.conf.d/90pyro"
printf 'pyro\n' > "$root/etc/hostname"
printf '127.0.0.1 localhost pyro\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
printf 'LANG=C.UTF-8\n' > "$root/etc/default/locale"
# Every command line goes through a login shell. Debian's own files start `id` and `mesg` there,
# which under emulation is most of what a short command costs; these do the same without.
cat > "$root/etc/profile" <<'PROFILE'
# Settings of login shells for all users.
if [ -O / ]; then
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
else
    PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games
fi
export PATH
if [ "${PS1-}" ]; then
    if [ "${BASH-}" ] && [ "$BASH" != /bin/sh ] && [ -f /etc/bash.bashrc ]; then
        . /etc/bash.bashrc
    elif [ -O / ]; then
        PS1='# '
    else
        PS1='$ '
    fi
fi
for file in /etc/profile.d/*.sh; do
    if [ -r "$file" ]; then . "$file"; fi
done
unset file
PROFILE
sed -i '/^mesg /d' "$root/root/.profile"
# A regular file, so that the agent can write to it; empty, so that it says nothing of the host.
: > "$root/etc/resolv.conf"
# Empty means "not yet initialised": each machine gets its own.
: > "$root/etc/machine-id"
# Some packages' scripts fail where the folders of the man pages are missing.
for section in 1 2 3 4 5 6 7 8; do mkdir -p "$root/usr/share/man/man$section"; done
mkdir -p "$root/workspace"
chmod 0755 "$root" "$root/workspace"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"

echo "PYRO: image"
# The kernel unpacks (on the second core) while the image is written.
dpkg-deb -x debs/linux-image-*.deb unpacked &
unpack=$!
# In a file that is one hole mke2fs sees that the inode tables are zero, says so in the
# group descriptors, and leaves them holes. Where it cannot see that, it writes zeros.
truncate -s "$PYRO_IMAGE_SIZE" rootfs.ext4
printf '%s' "$PYRO_IMAGE_CONFIG" > mke2fs.conf
# Words without spaces.
MKE2FS_CONFIG=$PYRO_PARTIAL/mke2fs.conf mke2fs $PYRO_IMAGE_ARGUMENTS -d "$root" rootfs.ext4
wait "$unpack"

# Here and not in Rust, because some of these files belong to ids that exist only in here.
rm -rf "$root" tmp debs
