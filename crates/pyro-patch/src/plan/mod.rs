//! From sections and old contents to file changes: all of them, or none.
//!
//! Sections are carried out in order on a picture of the files, so that later ones see what
//! earlier ones did. As in git, a rename takes what was there before the patch, where an earlier
//! section has put something else in its place.

mod content;
mod edit;
mod files;
mod indent;
mod names;
mod place;

use std::collections::{BTreeMap, BTreeSet};

use self::content::{content_of, link, made, not_a_file};
use self::edit::{Draft, HunkError};
use self::files::{Files, Old};
use self::names::beside;
use crate::budget::Budget;
use crate::change::{Node, Plan};
use crate::error::{HunkFailure, PatchError};
use crate::limits::MAX_FILE;
use crate::mode;
use crate::note::{Leniency, Note};
use crate::parse::binary::BinaryError;
use crate::parse::label::Label;
use crate::parse::section::{Move, Section};
use crate::root::absolute;
use crate::text::{Text, shown};

/// Told of; a model mends no more at once.
const FAILURES: usize = 5;
/// A patch with more is a mistake or an attack.
const SECTIONS: usize = 10_000;

pub(crate) fn plan(sections: &[Section<'_>], old: &Old<'_>) -> Result<Plan, PatchError> {
    if sections.len() > SECTIONS {
        return Err(PatchError::TooMuch);
    }
    let mut planner = Planner {
        files: Files::new(old),
        last_rename: BTreeMap::new(),
        emptied: BTreeSet::new(),
        budget: Budget::new(),
        failures: Vec::new(),
        spoiled: BTreeSet::new(),
        notes: Vec::new(),
    };
    for (index, section) in sections.iter().enumerate() {
        if let Some(moved) = &section.renamed {
            for path in moved.from.readings(section.line)? {
                planner.last_rename.insert(path, index);
            }
        }
        if let (Some(old), true) = (&section.old, section.deletes()) {
            for path in old.readings(section.line)? {
                let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
                planner
                    .emptied
                    .extend(slashes.map(|slash| path[..slash].to_vec()));
            }
        }
    }
    let mut complete = true;
    for (index, section) in sections.iter().enumerate() {
        if planner.failures.len() >= FAILURES {
            complete = false;
            break;
        }
        match planner.section(section, index) {
            Ok(()) => {}
            // What a section says after one that failed may be only its consequence.
            Err(_) if !planner.failures.is_empty() => {
                complete = false;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if !planner.failures.is_empty() {
        planner.failures.truncate(FAILURES);
        return Err(PatchError::Hunks {
            failures: planner.failures,
            complete,
        });
    }
    Ok(Plan {
        changes: planner.files.changes()?,
        notes: planner.notes,
    })
}

struct Planner<'o> {
    files: Files<'o>,
    /// The last section that renames what is at a path.
    last_rename: BTreeMap<Vec<u8>, usize>,
    /// Folders below which files are deleted.
    emptied: BTreeSet<Vec<u8>>,
    budget: Budget,
    failures: Vec<HunkFailure>,
    /// Paths whose hunks failed: what later sections say about them cannot be judged.
    spoiled: BTreeSet<Vec<u8>>,
    notes: Vec<Note>,
}

impl Planner<'_> {
    fn section(&mut self, section: &Section<'_>, index: usize) -> Result<(), PatchError> {
        if !section.one_sided.is_empty() {
            let names = section.one_sided.iter().map(|name| shown(name)).collect();
            self.notes.push(Note::OneSided { names });
        }
        if !section.properties.is_empty() && self.only_properties(section)? {
            return Ok(());
        }
        if let Some(moved) = &section.renamed {
            return self.rename(section, moved, index);
        }
        if let Some(moved) = &section.copied {
            return self.copy(section, moved, index);
        }
        match (&section.old, &section.new) {
            (Some(old @ Label::Name { .. }), Some(new @ Label::Name { .. })) => {
                if section.created_mode.is_some() {
                    self.create(section, new, index)
                } else if section.deleted_mode.is_some() {
                    self.delete(section, old)
                } else {
                    self.modify(section, old, new, index)
                }
            }
            (_, Some(new @ Label::Name { .. })) => self.create(section, new, index),
            (Some(old @ Label::Name { .. }), _) => self.delete(section, old),
            _ => Err(PatchError::Syntax {
                line: section.line,
                problem: "no side has a name",
            }),
        }
    }

    /// Tells of properties; true when the section says nothing else.
    fn only_properties(&mut self, section: &Section<'_>) -> Result<bool, PatchError> {
        let label = section.new.as_ref().or(section.old.as_ref());
        let readings = label
            .map(|label| label.readings(section.line))
            .transpose()?;
        if let Some(path) = readings.and_then(|paths| paths.into_iter().next()) {
            let names = section.properties.iter().map(|name| shown(name)).collect();
            self.notes.push(Note::Properties { path, names });
        }
        Ok(!section.has_content() && section.new_mode.is_none() && !section.is_one_sided())
    }

    fn create(
        &mut self,
        section: &Section<'_>,
        label: &Label,
        index: usize,
    ) -> Result<(), PatchError> {
        let path = self.files.new_path(section, label)?;
        if self.spoiled.contains(&path) {
            return Ok(());
        }
        let is_link = section.created_mode.is_some_and(mode::is_link);
        if label.may_have_letter() && label.readings(section.line)?.first() == Some(&path) {
            let (label, path) = (label.shown(), path.clone());
            self.notes.push(Note::Letter { label, path });
        }
        let Some(content) = self.patched(section, &path, Vec::new())? else {
            return Ok(());
        };
        let there = self.files.node(&path);
        let node = if is_link {
            link(section, &path, content)?
        } else {
            let mode = match &there {
                Node::File { content, mode } if content.is_empty() => *mode,
                _ => mode::of_new(section.created_mode.or(section.new_mode)),
            };
            Node::File {
                content: content.into(),
                mode,
            }
        };
        // Who made an empty file first may well fill it with a patch that makes it.
        let is_empty = matches!(&there, Node::File { content, .. } if content.is_empty());
        if !is_empty || section.outright {
            self.make_room(section, &path, &there, Some(&node), index)?;
        }
        self.files.put(path, node)
    }

    fn delete(&mut self, section: &Section<'_>, label: &Label) -> Result<(), PatchError> {
        let path = self.files.existing(section, label)?;
        if self.spoiled.contains(&path) {
            return Ok(());
        }
        let (content, mode) = self.content(section, &path, true)?;
        if section.has_content() {
            let Some(left) = self.patched(section, &path, content)? else {
                return Ok(());
            };
            if !left.is_empty() {
                let left = Text::new(left);
                return Err(PatchError::NotEmptied {
                    line: section.line,
                    path: absolute(&path),
                    left: left.len(),
                    first: shown(left.line(0)),
                });
            }
        } else if !section.outright {
            // Nothing tells that this is what was to be deleted.
            let is_named = mode.is_none() && section.deleted_mode.is_some_and(mode::is_link);
            if !content.is_empty() && !is_named {
                return Err(PatchError::NotShown {
                    line: section.line,
                    path: absolute(&path),
                });
            }
        }
        self.files.put(path, Node::Missing)
    }

    fn modify(
        &mut self,
        section: &Section<'_>,
        old: &Label,
        new: &Label,
        index: usize,
    ) -> Result<(), PatchError> {
        let line = section.line;
        let of_new = new.readings(line)?;
        let mut readings = old.readings(line)?;
        let first = readings.first().cloned();
        readings.retain(|path| of_new.contains(path));
        let wholes = [old.whole(), new.whole()];
        let is_there = |path: &Vec<u8>| self.files.node(path) != Node::Missing;
        let path = if let [_, Some(whole)] = &wholes
            && is_there(whole)
            && !readings.iter().any(is_there)
            && !wholes[0].as_ref().is_some_and(is_there)
        {
            // Only the second of the two names is there, as it stands.
            whole.clone()
        } else if readings.is_empty() {
            // `x.orig` and `x`: what is named second is meant, when only that is there.
            match (
                self.files.existing(section, old),
                self.files.existing(section, new),
            ) {
                (Err(PatchError::Missing { .. }), Ok(path)) => path,
                _ => {
                    return Err(PatchError::Names {
                        line,
                        old: old.shown(),
                        new: new.shown(),
                    });
                }
            }
        } else {
            let is_new_file = section.hunks.first().is_some_and(|hunk| {
                hunk.range
                    .is_some_and(|range| range.old_start == 0 && range.old_count == 0)
            });
            let doubtful = old.is_doubtful() && first.as_ref() == readings.first();
            let wholes = wholes.into_iter().flatten().collect();
            match self.files.pick(section, old, readings, wholes, doubtful) {
                Err(PatchError::Missing { .. })
                    if is_new_file && section.hunks.iter().all(|hunk| hunk.only_adds()) =>
                {
                    return self.create(section, new, index);
                }
                picked => picked?,
            }
        };
        if self.spoiled.contains(&path) {
            return Ok(());
        }
        let (content, old_mode) = self.content(section, &path, false)?;
        let Some(content) = self.patched(section, &path, content)? else {
            return Ok(());
        };
        let node = made(section, &path, content, old_mode)?;
        self.files.put(path, node)
    }

    fn rename(
        &mut self,
        section: &Section<'_>,
        moved: &Move,
        index: usize,
    ) -> Result<(), PatchError> {
        let readings = moved.from.readings(section.line)?;
        if let Some(from) = readings
            .iter()
            .find(|path| self.files.displaced.contains_key(*path))
        {
            let to = beside(section, moved, from)?;
            let node = self.files.displaced.remove(from).unwrap_or(Node::Missing);
            return self.move_to(section, from.clone(), to, node, index);
        }
        let from = self.files.existing(section, &moved.from)?;
        let to = beside(section, moved, &from)?;
        let node = self.files.node(&from);
        if from != to {
            self.files.put(from.clone(), Node::Missing)?;
        }
        self.move_to(section, from, to, node, index)
    }

    fn copy(
        &mut self,
        section: &Section<'_>,
        moved: &Move,
        index: usize,
    ) -> Result<(), PatchError> {
        let readings = moved.from.readings(section.line)?;
        let before = readings.iter().find(|path| self.files.is_before(path));
        let (from, node) = match before {
            Some(from) => (from.clone(), self.files.before(from)),
            None => {
                let from = self.files.existing(section, &moved.from)?;
                let node = self.files.node(&from);
                (from, node)
            }
        };
        let to = beside(section, moved, &from)?;
        self.arrive(section, from, to, node, index).map(|_| ())
    }

    fn move_to(
        &mut self,
        section: &Section<'_>,
        from: Vec<u8>,
        to: Vec<u8>,
        node: Node,
        index: usize,
    ) -> Result<(), PatchError> {
        if let Some(to) = self.arrive(section, from.clone(), to, node, index)?
            && to != from
        {
            self.files.origins.insert(to, from);
        }
        Ok(())
    }

    /// Puts a renamed or copied file where it belongs, with its hunks applied.
    fn arrive(
        &mut self,
        section: &Section<'_>,
        from: Vec<u8>,
        to: Vec<u8>,
        node: Node,
        index: usize,
    ) -> Result<Option<Vec<u8>>, PatchError> {
        if self.spoiled.contains(&from) || self.spoiled.contains(&to) {
            self.spoiled.insert(to);
            return Ok(None);
        }
        if from != to {
            let there = self.files.node(&to);
            self.make_room(section, &to, &there, None, index)?;
        }
        let node = if !section.has_content() && section.new_mode.is_none() {
            not_a_file(section, &from, &node, true)?;
            node
        } else {
            let linked = matches!(node, Node::Link { .. });
            let (content, mode) = content_of(section, &from, node, linked)?;
            let Some(content) = self.patched(section, &to, content)? else {
                return Ok(None);
            };
            made(section, &to, content, mode)?
        };
        self.files.put(to.clone(), node)?;
        Ok(Some(to))
    }

    /// Refuses to put a file over another, unless a later section takes that one away.
    fn make_room(
        &mut self,
        section: &Section<'_>,
        path: &[u8],
        there: &Node,
        made: Option<&Node>,
        index: usize,
    ) -> Result<(), PatchError> {
        if *there == Node::Missing {
            return Ok(());
        }
        // A folder gives way when the patch takes away what is in it; whether that is all of it the
        // guest will see.
        if *there == Node::Folder && made.is_some() && self.emptied.contains(path) {
            return Ok(());
        }
        not_a_file(section, path, there, true)?;
        let leaves = self.last_rename.get(path).is_some_and(|last| *last > index);
        if leaves && !self.files.displaced.contains_key(path) {
            self.files.displaced.insert(path.to_vec(), there.clone());
            return Ok(());
        }
        let same = match (there, made) {
            (Node::File { content: a, .. }, Some(Node::File { content: b, .. })) => a == b,
            (there, Some(made)) => there == made,
            _ => false,
        };
        Err(PatchError::Exists {
            line: section.line,
            path: absolute(path),
            same,
        })
    }

    /// What hunks apply to, with the mode of a file; a link's content is its target.
    fn content(
        &self,
        section: &Section<'_>,
        path: &[u8],
        deletes: bool,
    ) -> Result<(Vec<u8>, Option<u32>), PatchError> {
        let speaks_of_links = [section.index_mode, section.old_mode, section.deleted_mode]
            .into_iter()
            .flatten()
            .any(mode::is_link);
        let node = self.files.node(path);
        // hg says nothing of links, but shows their whole target.
        let shows_target = matches!(&node, Node::Link { target } if section.shows_whole(target));
        let linked = speaks_of_links || shows_target || (deletes && !section.has_content());
        content_of(section, path, node, linked)
    }

    /// Applies the hunks. `None` when some fail, which is noted then.
    fn patched(
        &mut self,
        section: &Section<'_>,
        path: &[u8],
        content: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, PatchError> {
        if !section.has_content() {
            return Ok(Some(content));
        }
        let too_hard = || PatchError::TooComplex {
            path: absolute(path),
        };
        // Taking a file apart costs as well; a patch may name one again and again.
        self.budget.spend(content.len()).map_err(|_| too_hard())?;
        if let Some(binary) = &section.binary {
            let ids = section.ids.as_ref();
            let problem = match binary.apply(&content, ids, &mut self.budget) {
                Ok(content) => return Ok(Some(content)),
                Err(BinaryError::Exhausted) => return Err(too_hard()),
                Err(BinaryError::Damaged(problem)) => problem,
                Err(BinaryError::OtherPreimage) => {
                    "the file is not the one that the patch was made from"
                }
                Err(BinaryError::UnknownPreimage) => {
                    "neither an `index` line nor a reverse delta says which file it was made from; \
                     create it with `git diff --binary`"
                }
            };
            return Err(PatchError::BinaryMismatch {
                line: section.line,
                path: absolute(path),
                problem,
            });
        }
        let mut draft = Draft::new(content);
        let mut fits = true;
        for (index, hunk) in section.hunks.iter().enumerate() {
            match draft.apply(hunk, &mut self.budget) {
                Ok(applied) => {
                    let [old, new] = hunk.missing;
                    let short = Some(old.max(new)).filter(|lines| *lines > 0);
                    let short = short.map(Leniency::Short);
                    let leniencies = applied.leniency.into_iter().chain(short);
                    self.notes.extend(leniencies.map(|leniency| Note::Hunk {
                        path: path.to_vec(),
                        hunk: index + 1,
                        line: applied.line,
                        leniency,
                    }));
                }
                Err(HunkError::Exhausted) => return Err(too_hard()),
                Err(HunkError::Reason(reason)) => {
                    fits = false;
                    self.failures.push(HunkFailure {
                        path: absolute(path),
                        hunk: index + 1,
                        of: section.hunks.len(),
                        line: hunk.line,
                        header: shown(hunk.header),
                        reason,
                    });
                    if self.failures.len() >= FAILURES {
                        break;
                    }
                }
            }
        }
        if !fits {
            self.spoiled.insert(path.to_vec());
            return Ok(None);
        }
        let content = draft.finish();
        match content.len() > MAX_FILE {
            true => Err(PatchError::TooLarge {
                path: absolute(path),
            }),
            false => Ok(Some(content)),
        }
    }
}
