#!/usr/bin/env bash
# git 2.39.5 (Debian 12's).
#
# Expected: `git apply` of a patch that `git diff` has just written changes the file, or fails.
# Seen: in another folder of the same repository it changes nothing, prints nothing and ends with 0; so do
# `--check`, `--index` and `--3way` (`--reject` and `-v` at least say "Skipped patch"). It reads a git patch's
# names from the repository's root and leaves out what is not below the folder it stands in, which may be
# everything. Of the same change without the `diff --git` line it reads the names from the folder, and fails
# loudly for want of the file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# apt reads and writes here as a user of its own.
chmod 755 .

package=git=1:2.39.5-0+deb12u3
apt-get download --quiet "$package" >/dev/null 2>&1 || {
    echo "apt knows no $package (after \`apt-get update\`, Debian 12 does)" >&2
    exit 1
}
dpkg-deb --extract git_*.deb git
export PATH=$folder/git/usr/bin:$PATH GIT_EXEC_PATH=$folder/git/usr/lib/git-core
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git version

git init --quiet --template= repository
cd repository
mkdir folder
echo old >file
touch folder/other
git add .
git -c user.name=n -c user.email=e@example.org commit --quiet --message first
echo new >file
git diff >../change.diff
sed '/^diff --git/d; /^index/d' ../change.diff >../plain.diff
git checkout --quiet file

cd folder
changed=
for how in "" --check --index --3way; do
    status=0
    said=$(git apply $how ../../change.diff 2>&1) || status=$?
    echo "git apply $how: exit $status, said '$said', the file is '$(cat ../file)'"
    [ "$status:$said:$(cat ../file)" = 0::old ] || changed=yes
done
status=0
said=$(git apply ../../plain.diff 2>&1) || status=$?
echo "without 'diff --git': exit $status, said '$said'"
[ "$status" -eq 1 ] || changed=yes
cd ..
git apply ../change.diff
echo "in the repository's root: the file is '$(cat file)'"
[ "$(cat file)" = new ] || changed=yes
# Output on 2026-11-29:
#   git version 2.39.5
#   git apply : exit 0, said '', the file is 'old'
#   git apply --check: exit 0, said '', the file is 'old'
#   git apply --index: exit 0, said '', the file is 'old'
#   git apply --3way: exit 0, said '', the file is 'old'
#   without 'diff --git': exit 1, said 'error: folder/file: No such file or directory'
#   in the repository's root: the file is 'new'
[ -z "$changed" ] || {
    echo "changed: see above" >&2
    exit 1
}
