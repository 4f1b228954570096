//! The members of an archive that were found fit, by name.

use std::collections::HashMap;

use super::error::ImportError;
use super::guest_index::GuestIndex;
use super::notes::Notes;
use super::pass::Packed;
use super::patterns::Patterns;
use crate::archive::{Member, MemberKind};
use crate::mode::kept;
use crate::names::{escaped, relative, split, stays_inside};
use crate::progress::{MAX_ENTRIES, Totals};

/// Where several members have one name, the last counts, as for tar.
#[derive(Default)]
pub(super) struct Members {
    rows: HashMap<Vec<u8>, Row>,
    /// How many members were seen, the left out ones included.
    seen: u64,
}

struct Row {
    /// Which member of the archive it is.
    at: u64,
    member: Member,
}

impl Members {
    /// Checks a member and gives it a row. Everything that can be said without the others is said
    /// here, the rest in [`finish`](Self::finish).
    pub(super) fn add(
        &mut self,
        member: Member,
        patterns: &Patterns,
        notes: &mut Notes,
    ) -> Result<(), ImportError> {
        let at = self.seen;
        self.seen += 1;
        if self.seen > MAX_ENTRIES {
            return Err(ImportError::TooMany { most: MAX_ENTRIES });
        }
        if left_out(&member, patterns) {
            let is_folder = member.kind == MemberKind::Folder;
            let name = relative(&member.name).unwrap_or_default();
            notes.add_left_out(&name, is_folder, 1, member.size);
            return Ok(());
        }
        let mode = member.mode;
        let Some(member) = fit(member)? else {
            return Ok(());
        };
        notes.mode(&member.name, mode);
        if let MemberKind::Symlink { target } = &member.kind
            && !stays_inside(&member.name, target)
        {
            notes.link_leaves(&member.name, target);
        }
        if let Some(earlier) = self.rows.get(&member.name) {
            let was_folder = earlier.member.kind == MemberKind::Folder;
            if was_folder != (member.kind == MemberKind::Folder) {
                return Err(ImportError::refused(
                    &member.name,
                    "is in the archive both as a folder and as something else",
                ));
            }
        }
        self.rows.insert(member.name.clone(), Row { at, member });
        Ok(())
    }

    /// Checks the members against each other.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        for (name, row) in &self.rows {
            let mut above = split(name).0;
            while !above.is_empty() {
                if let Some(parent) = self.rows.get(above)
                    && parent.member.kind != MemberKind::Folder
                {
                    let why = format!("is below `{}`, which is not a folder", escaped(above));
                    return Err(ImportError::refused(name, why));
                }
                above = split(above).0;
            }
            if let MemberKind::HardLink { target } = &row.member.kind {
                let fits = self
                    .rows
                    .get(target)
                    .is_some_and(|first| first.at < row.at && is_linkable(&first.member.kind));
                if !fits {
                    let target = escaped(target);
                    let why =
                        format!("is a hard link to `{target}`, which is not a file before it");
                    return Err(ImportError::refused(name, why));
                }
            }
        }
        Ok(())
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for row in self.rows.values() {
            totals.add(&row.member);
        }
        totals
    }

    /// The row of the archive's member number `at`; `None` where it was left out.
    pub(super) fn get(&self, at: u64, name: &[u8]) -> Option<&Member> {
        let row = self.rows.get(name)?;
        (row.at == at).then_some(&row.member)
    }

    /// How many members the archive has.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Names of what is to be sent to a guest. A hard link that the guest lacks needs the file
    /// that it is a link to, so that is sent with it. `changed_ns` is when the archive changed.
    /// What lies in a repository of the guest is not.
    pub(super) fn wanted(
        &self,
        index: &GuestIndex,
        changed_ns: i64,
        packed: &mut Packed,
    ) -> HashMap<&[u8], &Member> {
        let mut wanted = HashMap::new();
        for row in self.rows.values() {
            let file = self.file_of(&row.member);
            let as_file = Member {
                name: row.member.name.clone(),
                ..file.clone()
            };
            if index.has(&as_file, changed_ns) {
                continue;
            }
            if let Some(folder) = index.repository_of(&row.member.name) {
                packed.left_alone(folder);
                continue;
            }
            // The whole chain of links: each names the one before.
            let mut next = Some(&row.member);
            while let Some(member) = next {
                wanted.insert(member.name.as_slice(), member);
                next = self.linked(member);
            }
        }
        wanted
    }

    fn file_of<'a>(&'a self, member: &'a Member) -> &'a Member {
        let mut file = member;
        while let Some(first) = self.linked(file) {
            file = first;
        }
        file
    }

    /// What a hard link names. A chain ends, as each link is after what it names.
    fn linked(&self, member: &Member) -> Option<&Member> {
        match &member.kind {
            MemberKind::HardLink { target } => self.rows.get(target).map(|row| &row.member),
            _ => None,
        }
    }
}

fn is_linkable(kind: &MemberKind) -> bool {
    matches!(kind, MemberKind::File | MemberKind::HardLink { .. })
}

/// Whether patterns leave a member out, fit or not.
pub(super) fn left_out(member: &Member, patterns: &Patterns) -> bool {
    let is_folder = member.kind == MemberKind::Folder;
    relative(&member.name)
        .is_ok_and(|name| !name.is_empty() && patterns.leaves_out(&name, is_folder))
}

/// The member with plain names; `None` for the archive's own root.
pub(super) fn fit(member: Member) -> Result<Option<Member>, ImportError> {
    let plain = |name: &[u8]| {
        relative(name)
            .map_err(|bad| ImportError::refused(&member.name, format!("is refused: {bad}")))
    };
    let name = plain(&member.name)?;
    let kind = match member.kind {
        MemberKind::Folder if name.is_empty() => return Ok(None),
        _ if name.is_empty() => {
            return Err(ImportError::refused(
                &member.name,
                "is the root and not a folder",
            ));
        }
        MemberKind::Special(what) => {
            return Err(ImportError::refused(&member.name, format!("is {what}")));
        }
        MemberKind::Symlink { target } => {
            if target.is_empty() || target.contains(&0) {
                return Err(ImportError::refused(&name, "is a link without a target"));
            }
            MemberKind::Symlink { target }
        }
        MemberKind::HardLink { target } => {
            let target = relative(&target).map_err(|_| {
                let why = format!(
                    "is a hard link to `{}`, outside the source",
                    escaped(&target)
                );
                ImportError::refused(&name, why)
            })?;
            MemberKind::HardLink { target }
        }
        kind => kind,
    };
    Ok(Some(Member {
        name,
        kind,
        mode: kept(member.mode),
        ..member
    }))
}
