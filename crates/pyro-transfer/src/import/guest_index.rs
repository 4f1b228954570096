//! What a guest has already, so that only the difference is sent.

use std::collections::{HashMap, HashSet};

use pyro_wire::files::{Entry, EntryKind};
use pyro_wire::repositories::folder_by_name;

use crate::archive::{Member, MemberKind};
use crate::mode::kept;

/// How far a guest's clock may be ahead of this host's when nobody has set it.
const CLOCKS_APART_NS: i64 = 1_000_000_000;

/// Entries of a folder of the guest by their names below it.
#[derive(Default)]
pub struct GuestIndex {
    entries: HashMap<Vec<u8>, Entry>,
    /// The folders of its version control systems, or files that stand for one. What was committed
    /// there is nowhere else, so nothing is put into them.
    repositories: HashSet<Vec<u8>>,
}

impl GuestIndex {
    /// From a recursive listing, which was made now. `destination` is the folder that the source goes
    /// to, as the listing names it; what is elsewhere is left out, and so is what came to be there at a
    /// time that is still to come: a guest whose clock was set on says nothing about before and after.
    pub fn new(entries: impl IntoIterator<Item = Entry>, destination: &[u8], now_ns: i64) -> Self {
        let latest_ns = now_ns.saturating_add(CLOCKS_APART_NS);
        let below = |entry: Entry| {
            let name = match destination {
                b"" => entry.path.to_vec(),
                _ => entry
                    .path
                    .strip_prefix(destination)?
                    .strip_prefix(b"/")?
                    .to_vec(),
            };
            Some((name, entry))
        };
        let mut index = Self::default();
        for (name, entry) in entries.into_iter().filter_map(below) {
            if folder_by_name(&name) == Some(&name) {
                index.repositories.insert(name.clone());
            }
            if entry.stamp.ctime_ns <= latest_ns {
                index.entries.insert(name, entry);
            }
        }
        index
    }

    /// The guest's own repository folder that a name is or lies in, which is left as it is.
    pub(super) fn repository_of<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        folder_by_name(name).filter(|folder| self.repositories.contains(*folder))
    }

    /// Whether the guest has what this member would make of it. A folder's time is not compared,
    /// as it changes with what is written into it. A hard link is compared by the caller, as the
    /// file that it is.
    ///
    /// `changed_ns` is when the host's file last changed, or the archive it is in. Size and time of
    /// writing may be those of another content: tools that unpack and copy set times, and two
    /// writes within one tick of the clock have the same. So what changed
    /// here after it came to be there counts as different.
    pub(super) fn has(&self, member: &Member, changed_ns: i64) -> bool {
        let Some(entry) = self.entries.get(&member.name) else {
            return false;
        };
        let same_mode = entry.meta.mode & 0o7777 == kept(member.mode);
        match &member.kind {
            MemberKind::File => {
                entry.meta.kind == EntryKind::File
                    && same_mode
                    && entry.meta.size == member.size
                    && entry.stamp.mtime_ns == member.mtime_ns
                    && entry.stamp.ctime_ns > changed_ns
            }
            MemberKind::Folder => entry.meta.kind == EntryKind::Directory && same_mode,
            MemberKind::Symlink { target } => {
                entry.meta.kind == EntryKind::Symlink
                    && entry.meta.target.as_deref() == Some(target)
            }
            MemberKind::HardLink { .. } | MemberKind::Special(_) => false,
        }
    }
}
