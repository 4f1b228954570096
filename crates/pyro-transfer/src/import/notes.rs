//! What is told about a source, beside how much it is: what did not come along, and what came along
//! otherwise than one may think. All of it is bounded.

use crate::mode::LostBits;
use crate::name_sample::NameSample;
use crate::names::escaped;

/// How many names are told of what was left out.
const LEFT_OUT: usize = 20;

/// How many repositories are told about.
const REPOSITORIES: usize = 10;

/// What of a source was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// With all that is in folders.
    pub entries: u64,
    pub bytes: u64,
    /// The first of them; one that ends in a slash is a folder with all in it.
    pub paths: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    left_out: LeftOut,
    links: NameSample,
    sockets: NameSample,
    lost_bits: LostBits,
    repositories: Vec<String>,
    more_repositories: u64,
    lines: Vec<String>,
}

impl Notes {
    /// An entry that patterns leave out; a folder counts with what is in it.
    pub(super) fn add_left_out(&mut self, name: &[u8], is_folder: bool, entries: u64, bytes: u64) {
        self.left_out.entries += entries;
        self.left_out.bytes += bytes;
        if self.left_out.paths.len() < LEFT_OUT {
            let slash = if is_folder { "/" } else { "" };
            self.left_out
                .paths
                .push(format!("{}{slash}", escaped(name)));
        }
    }

    pub(super) fn link_leaves(&mut self, name: &[u8], target: &[u8]) {
        self.links
            .add(|| format!("`{}` -> `{}`", escaped(name), escaped(target)));
    }

    pub(super) fn socket(&mut self, name: &[u8]) {
        self.sockets.add(|| format!("`{}`", escaped(name)));
    }

    /// A file or folder that may have a bit that it does not keep.
    pub(super) fn mode(&mut self, name: &[u8], mode: u32) {
        self.lost_bits.note(mode, || format!("`{}`", escaped(name)));
    }

    pub(super) fn no_git(&mut self, name: &[u8], why: &str) {
        self.repository(|| format!("git will not work with `{}`: {why}", escaped(name)));
    }

    /// A list of folders that objects are borrowed from, which leads out of the source.
    pub(super) fn no_objects(&mut self, name: &[u8]) {
        self.no_git(
            name,
            "it borrows objects from another repository; `git repack -a -d` copies them, and then \
             the file can be removed",
        );
    }

    pub(super) fn repository(&mut self, line: impl FnOnce() -> String) {
        match self.repositories.len() < REPOSITORIES {
            true => self.repositories.push(line()),
            false => self.more_repositories += 1,
        }
    }

    pub(super) fn line(&mut self, line: String) {
        if self.lines.len() < REPOSITORIES {
            self.lines.push(line);
        }
    }

    pub(super) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Lines for people about all else.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.clone();
        lines.extend(self.repositories.iter().cloned());
        if self.more_repositories > 0 {
            let more = self.more_repositories;
            lines.push(format!("the same applies to {more} more repositories"));
        }
        let kinds = [
            self.links.line(
                "link leads out of the source and is kept as it is",
                "links lead out of the source and are kept as they are",
            ),
            self.sockets
                .line("socket was left out", "sockets were left out"),
            self.lost_bits.line(),
        ];
        lines.extend(kinds.into_iter().flatten());
        lines
    }
}
