#!/usr/bin/env bash
# The Rust crate ignore 0.4.35, which reads .gitignore files for ripgrep, fd and many others.
#
# Expected: a line of a .gitignore means what gitignore(5) says: as in fnmatch(3), where `*`, `?` and `[a-z]`
# are special and braces are letters like any other.
# Seen: `{a,b}.txt` are two alternatives to it. It takes a.txt for ignored, which git does not, and looks at
# the file `{a,b}.txt`, which git ignores. With a backslash before each brace both read it as letters.
#
# The crate is pinned. git is the one of this machine, without its configuration; that it is as said here was
# seen with git 2.47.3.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

cannot() {
    echo "could not be tried: $1" >&2
    exit 2
}

mkdir -p src project
cat >Cargo.toml <<'TOML'
[package]
name = "braces"
version = "0.0.0"
edition = "2021"

[dependencies]
ignore = "=0.4.35"

[workspace]
TOML
cat >src/main.rs <<'RUST'
use ignore::gitignore::GitignoreBuilder;

fn main() {
    for line in ["{a,b}.txt", r"\{a,b\}.txt"] {
        let mut lines = GitignoreBuilder::new("");
        lines.add_line(None, line).unwrap();
        let lines = lines.build().unwrap();
        for name in ["a.txt", "{a,b}.txt"] {
            let is_ignored = lines.matched(name, false).is_ignore();
            println!("{line}: {name} {}", if is_ignored { "ignored" } else { "shown" });
        }
    }
}
RUST
export CARGO_TARGET_DIR=$folder/target
cargo build --quiet || cannot "cargo has not built it"
crate=$(target/debug/braces)

git version || cannot "git is missing"
git init --quiet --template= project
git=$(
    for line in '{a,b}.txt' '\{a,b\}.txt'; do
        printf '%s\n' "$line" >project/.gitignore
        for name in a.txt '{a,b}.txt'; do
            status=0
            git -C project check-ignore --quiet "$name" || status=$?
            case $status in
                0) echo "$line: $name ignored" ;;
                1) echo "$line: $name shown" ;;
                *) exit "$status" ;;
            esac
        done
    done
) || cannot "git failed"
printf 'git:\n%s\nignore 0.4.35:\n%s\n' "$git" "$crate"
# Output on 2026-11-29:
#   git version 2.47.3
#   git:
#   {a,b}.txt: a.txt shown
#   {a,b}.txt: {a,b}.txt ignored
#   \{a,b\}.txt: a.txt shown
#   \{a,b\}.txt: {a,b}.txt ignored
#   ignore 0.4.35:
#   {a,b}.txt: a.txt ignored
#   {a,b}.txt: {a,b}.txt shown
#   \{a,b\}.txt: a.txt shown
#   \{a,b\}.txt: {a,b}.txt ignored
escaped='\{a,b\}.txt: a.txt shown
\{a,b\}.txt: {a,b}.txt ignored'
[ "$git" = "{a,b}.txt: a.txt shown
{a,b}.txt: {a,b}.txt ignored
$escaped" ] && [ "$crate" = "{a,b}.txt: a.txt ignored
{a,b}.txt: {a,b}.txt shown
$escaped" ] || {
    echo "changed: see above" >&2
    exit 1
}
