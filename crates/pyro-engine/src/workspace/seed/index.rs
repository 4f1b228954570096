//! What a guest has already, so that only the difference is sent.

use std::collections::HashMap;

use pyro_wire::files::{Entry, EntryKind};

use super::kept_mode;
use crate::workspace::archive::{Member, MemberKind};

/// How far a guest's clock may be ahead of this host's when nobody has set it.
const CLOCKS_APART_NS: i64 = 1_000_000_000;

/// Entries of a folder of the guest by their names below it.
#[derive(Default)]
pub(crate) struct GuestIndex {
    entries: HashMap<Vec<u8>, Entry>,
}

impl GuestIndex {
    /// From a recursive listing, which was made now. `destination` is the folder that the source goes
    /// to, as the listing names it; what is elsewhere is left out, and so is what came to be there at a
    /// time that is still to come: a guest whose clock was set on says nothing about before and after.
    pub(crate) fn new(
        entries: impl IntoIterator<Item = Entry>,
        destination: &[u8],
        now_ns: i64,
    ) -> Self {
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
        Self {
            entries: entries
                .into_iter()
                .filter(|entry| entry.stamp.ctime_ns <= latest_ns)
                .filter_map(below)
                .collect(),
        }
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
        let same_mode = entry.meta.mode & 0o7777 == kept_mode(member.mode);
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
