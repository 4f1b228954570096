#!/usr/bin/env bash
# Braces in a .gitignore are plain letters to git, and alternatives to the Rust crate `ignore`, which
# reads those files for ripgrep, fd and many others. So a tool takes files for ignored that git
# tracks, and looks at the ones that git ignores.
#
# ignore 0.4.35, git 2.47.3, seen for the one line `{a,b}.txt`:
#
#   file         git        ignore
#   a.txt        shown      ignored
#   {a,b}.txt    ignored    shown
#
# Exits with 1 when either answers otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

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
    let mut lines = GitignoreBuilder::new("");
    lines.add_line(None, "{a,b}.txt").unwrap();
    let lines = lines.build().unwrap();
    for name in ["a.txt", "{a,b}.txt"] {
        println!("{name} {}", if lines.matched(name, false).is_ignore() { "ignored" } else { "shown" });
    }
}
RUST
crate=$(CARGO_TARGET_DIR=$work/target cargo run --quiet)

git init -q project
echo '{a,b}.txt' >project/.gitignore
git=$(for name in a.txt '{a,b}.txt'; do
    touch "project/$name"
    git -C project check-ignore -q "$name" && echo "$name ignored" || echo "$name shown"
done)

git --version
echo "git:"
echo "$git"
echo "ignore 0.4.35:"
echo "$crate"
[ "$git" = $'a.txt shown\n{a,b}.txt ignored' ] && [ "$crate" = $'a.txt ignored\n{a,b}.txt shown' ]
