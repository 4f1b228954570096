//! Patches as people, tools and models write them: understood, and turned into file changes.
//! They are unified diffs in many dialects, or of the form that begins with `*** Begin Patch`.
//!
//! ```text
//! plain_text(text)     without what a mail's way did to it
//! Patch::parse(text)   what the text says: sections, one for each file, with their hunks
//! Patch::reads()       the paths whose old state is needed
//! Patch::plan(old)     all file changes together, or what does not fit
//! ```
//!
//! Pure: the caller reads old contents before, and carries changes out after. Everything is bytes,
//! so that a file in Latin-1 can be patched.
//!
//! Ready-made crates were tried and turned down: diffy and flickzeug want numbers in every hunk
//! header, take the nearest of several places that fit without a word, and say nothing about what
//! is there instead; mpatch knows only UTF-8.

mod absent;
mod begin_patch;
mod binary;
mod content;
mod edit;
mod error;
mod files;
mod header;
mod hunk;
mod indent;
mod label;
mod mail;
mod message;
mod mode;
mod nearest;
mod parse;
mod place;
mod plan;
mod section;
mod subversion;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

pub(crate) use error::PatchError;
pub(crate) use place::Leniency;

use section::Section;

/// The contract's limit on the text of a patch.
pub(crate) const MAX_PATCH: usize = 1024 * 1024;
/// Files larger than this are neither patched nor made.
pub(crate) const MAX_FILE: usize = 8 * 1024 * 1024;
/// What all new files of one patch may hold together.
const MAX_RESULT: usize = 128 * 1024 * 1024;

/// A patch that was understood.
#[derive(Debug)]
pub(crate) struct Patch<'t> {
    pub(crate) format: Format,
    sections: Vec<Section<'t>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Unified,
    /// From `*** Begin Patch` to `*** End Patch`.
    BeginPatch,
}

/// What is at a path before or after a patch. Paths are relative to `/workspace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Missing,
    File {
        content: Arc<[u8]>,
        /// Permission bits.
        mode: u32,
    },
    Link {
        target: Vec<u8>,
    },
    Folder,
    /// Neither file, link nor folder.
    Special,
    /// A file above [`MAX_FILE`].
    TooLarge,
}

/// All that a patch changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By path; each path once.
    pub(crate) changes: Vec<FileChange>,
    /// Where the patch was taken less literally than it was written.
    pub(crate) notes: Vec<Note>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileChange {
    pub(crate) path: Vec<u8>,
    pub(crate) status: Status,
    /// `Missing`, `File` or `Link`.
    pub(crate) after: Node,
    /// Where a renamed file was before; that path is deleted by a change of its own.
    pub(crate) renamed_from: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Added,
    Modified,
    Deleted,
}

/// What was not done just as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A hunk that did not fit exactly where it said.
    Hunk {
        path: Vec<u8>,
        /// Counted from 1.
        hunk: usize,
        /// The first line of the file that the hunk speaks of, counted from 1.
        line: usize,
        leniency: Leniency,
    },
    /// The name of a new file, without the letter in front of it.
    Letter { label: String, path: Vec<u8> },
    /// Properties of Subversion, which no file has here.
    Properties { path: Vec<u8>, names: Vec<String> },
}

impl fmt::Display for Note {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, hunk, line, leniency) = match self {
            Self::Hunk {
                path,
                hunk,
                line,
                leniency,
            } => (path, hunk, line, leniency),
            Self::Letter { label, path } => {
                let path = error::told(path);
                let folder = label.split('/').next().unwrap_or_default();
                return write!(
                    to,
                    "`{label}` was taken as {path}: git puts `{folder}/` before names, and there is \
                     no folder {}",
                    error::told(folder.as_bytes())
                );
            }
            Self::Properties { path, names } => {
                let (path, names) = (error::told(path), names.join(", "));
                return write!(to, "{path}: Subversion's properties were left out: {names}");
            }
        };
        let path = error::told(path);
        write!(to, "{path}: hunk {hunk} taken at line {line}, ")?;
        match leniency {
            Leniency::Offset(lines) if *lines < 0 => {
                write!(to, "{} lines above the stated one", lines.unsigned_abs())
            }
            Leniency::Offset(lines) => write!(to, "{lines} lines below the stated one"),
            Leniency::LineEnds => write!(to, "with the file's own line ends"),
            Leniency::TrailingSpace => write!(to, "white space at line ends aside"),
            Leniency::LessContext => write!(to, "although its outer lines of context differ"),
            Leniency::Indentation => write!(to, "white space aside, indented as the file is"),
            Leniency::Anchor => write!(to, "where alone it fits, which is not behind its anchor"),
        }
    }
}

/// The text of a patch as it was before a mail was encoded for its way; lines are counted in this.
pub(crate) fn plain_text(text: &[u8]) -> Result<Cow<'_, [u8]>, PatchError> {
    if text.len() > MAX_PATCH {
        return Err(PatchError::TooLong { size: text.len() });
    }
    mail::decoded(text)
}

impl<'t> Patch<'t> {
    /// Reads what the text says; prose and Markdown fences around it are passed over.
    pub(crate) fn parse(text: &'t [u8]) -> Result<Self, PatchError> {
        if text.len() > MAX_PATCH {
            return Err(PatchError::TooLong { size: text.len() });
        }
        let (format, sections) = parse::sections(text)?;
        Ok(Self { format, sections })
    }

    /// Whether any name begins with a folder.
    pub(crate) fn speaks_of(&self, folder: &str) -> bool {
        let mut names = self.sections.iter().flat_map(Section::names);
        names.any(|name| name.is_below(folder.as_bytes()) == Some(true))
    }

    /// Takes a folder off the front of all names.
    pub(crate) fn take_off(&mut self, folder: &str) -> Result<(), PatchError> {
        for section in &self.sections {
            let mut names = section.names();
            if let Some(name) = names.find(|name| name.is_below(folder.as_bytes()) == Some(false)) {
                return Err(PatchError::Outside {
                    line: section.line,
                    label: name.shown(),
                    folder: folder.to_owned(),
                });
            }
        }
        for name in self.sections.iter_mut().flat_map(Section::names_mut) {
            name.take_off(folder.as_bytes());
        }
        Ok(())
    }

    /// Every path that [`plan`](Self::plan) may ask about. Some are only other readings of a name
    /// in the patch (with and without `a/`), so that nothing there is no error.
    pub(crate) fn reads(&self) -> Result<BTreeSet<Vec<u8>>, PatchError> {
        let mut paths = BTreeSet::new();
        for section in &self.sections {
            section.reads(&mut paths)?;
        }
        Ok(paths)
    }

    /// Computes all changes, or says what does not fit.
    pub(crate) fn plan(&self, old: impl Fn(&[u8]) -> Node) -> Result<Plan, PatchError> {
        plan::plan(&self.sections, &old)
    }
}
