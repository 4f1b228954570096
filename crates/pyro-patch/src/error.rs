//! What can be wrong with a patch, in words that a model can act on.

use std::fmt;

use crate::limits::{MAX_FILE, MAX_PATCH};
use crate::nearest::Nearest;

/// Completes "`.git/config` …" where something from outside would change it.
pub const NOT_TO_BE_CHANGED: &str = "belongs to a repository and not to its files; change it \
     with commands in the workspace, such as `git commit` or `git config`";

/// Shown of the lines that a hunk looked for.
const SHOWN_LINES: usize = 12;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("the patch has {size} bytes, more than the {MAX_PATCH} allowed")]
    TooLong { size: usize },
    #[error(
        "the text has no `--- ` and `+++ ` lines, no `diff --git` line and no `*** Begin Patch`"
    )]
    NoSections,
    #[error(
        "line {line} belongs to the `*** Begin Patch` format, but is outside of such a patch; give \
         a patch from `*** Begin Patch` to `*** End Patch`, or a unified diff"
    )]
    Mixed { line: usize },
    #[error(
        "line {line} begins a SEARCH/REPLACE block, which is not supported; give a unified diff \
         (`--- a/PATH`, `+++ b/PATH`, hunks that begin with `@@`) or a patch from `*** Begin \
         Patch` to `*** End Patch`"
    )]
    SearchReplace { line: usize },
    #[error("line {line} of the patch: `{label}` {}", NOT_TO_BE_CHANGED)]
    Repository { line: usize, label: String },
    #[error("line {line} of the patch: {problem}")]
    Syntax { line: usize, problem: &'static str },
    #[error("line {line} of the patch: the path `{label}` is refused: {problem}")]
    Path {
        line: usize,
        label: String,
        problem: &'static str,
    },
    #[error(
        "line {line} of the patch: `{label}` is not below `{folder}/`, as other names in it are; \
         /workspace holds only that folder of the repository"
    )]
    Outside {
        line: usize,
        label: String,
        folder: String,
    },
    #[error(
        "line {line} of the patch: `{name}` is binary, and its content was left out of the patch"
    )]
    Binary { line: usize, name: String },
    #[error("line {line} of the patch: the binary part for {path} does not fit: {problem}")]
    BinaryMismatch {
        line: usize,
        path: String,
        problem: &'static str,
    },
    #[error("line {line} of the patch: `{label}` could mean {}", either(.readings))]
    Ambiguous {
        line: usize,
        label: String,
        readings: Vec<String>,
    },
    #[error("line {line} of the patch: there is no {}", either(.looked))]
    Missing { line: usize, looked: Vec<String> },
    #[error("line {line} of the patch: {path} was deleted or renamed earlier in this patch")]
    Removed { line: usize, path: String },
    #[error(
        "line {line} of the patch creates {path}, which already exists{}",
        if *.same { " with exactly this content" } else { "" }
    )]
    Exists {
        line: usize,
        path: String,
        same: bool,
    },
    #[error("line {line} of the patch: {path} is {what}")]
    NotAFile {
        line: usize,
        path: String,
        what: String,
    },
    #[error("line {line} of the patch: {old} and {new} differ, but there is no `rename from`")]
    Names {
        line: usize,
        old: String,
        new: String,
    },
    #[error(
        "line {line} of the patch deletes {path} but not all its content: {left} lines remain, the \
         first is `{first}`"
    )]
    NotEmptied {
        line: usize,
        path: String,
        left: usize,
        first: String,
    },
    #[error(
        "line {line} of the patch deletes {path} without its lines, but it is not empty; show all \
         its lines as deleted, or delete it with a command"
    )]
    NotShown { line: usize, path: String },
    #[error("{path} cannot be a file while {below} is below it")]
    Nested { path: String, below: String },
    #[error("{path} is larger than {MAX_FILE} bytes, or would be")]
    TooLarge { path: String },
    #[error("the patched files are too large together")]
    TooMuch,
    #[error(
        "locating the hunks takes too much work in {path}: it is too long, too repetitive or \
         patched too often; give correct line numbers, or smaller patches"
    )]
    TooComplex { path: String },
    #[error("{}", failures_in_words(.failures, *.complete))]
    Hunks {
        failures: Vec<HunkFailure>,
        /// Whether the rest of the patch was tried.
        complete: bool,
    },
}

/// A hunk that found no place, or too many.
#[derive(Debug, PartialEq, Eq)]
pub struct HunkFailure {
    pub path: String,
    /// Counted from 1, with how many the file has.
    pub hunk: usize,
    pub of: usize,
    /// Of the patch, counted from 1.
    pub line: usize,
    pub header: String,
    pub reason: HunkReason,
}

#[derive(Debug, PartialEq, Eq)]
pub enum HunkReason {
    /// Its old lines, with the lines of the file that are most like them.
    NotFound {
        wanted: Vec<String>,
        nearest: Option<Nearest>,
        file_lines: usize,
    },
    /// The lines, counted from 1, where it fits equally well.
    Ambiguous {
        places: Vec<usize>,
        /// Whether a line number would tell them apart.
        numbered: bool,
    },
    /// The line that it is to follow is not there.
    NoAnchor { anchor: String },
    /// The text that it would make is there already.
    Applied { line: usize },
    /// It adds lines and says nothing of what is around them.
    NoContext,
    /// Its numbers speak of an empty file.
    NotEmpty { file_lines: usize },
}

impl fmt::Display for HunkFailure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            hunk,
            of,
            line,
            header,
            reason,
        } = self;
        write!(to, "{path}: hunk {hunk} of {of}")?;
        if !header.is_empty() {
            write!(to, " (`{header}`)")?;
        }
        write!(to, ", at line {line} of the patch, ")?;
        match reason {
            HunkReason::NotFound {
                wanted,
                nearest,
                file_lines,
            } => {
                write!(to, "does not apply. It looks for:")?;
                for line in wanted.iter().take(SHOWN_LINES) {
                    write!(to, "\n      | {line}")?;
                }
                if wanted.len() > SHOWN_LINES {
                    write!(to, "\n      | … {} more lines", wanted.len() - SHOWN_LINES)?;
                }
                match nearest {
                    Some(nearest) => write!(to, "\n{nearest}"),
                    None => write!(to, "\nNothing in the file's {file_lines} lines is similar."),
                }
            }
            HunkReason::Ambiguous { places, numbered } => {
                let places: Vec<String> = places.iter().map(usize::to_string).collect();
                let apart = match numbered {
                    true => "the correct line number after `@@ -`",
                    false => "the line of its function or class after `@@`",
                };
                write!(
                    to,
                    "applies equally well at lines {}. Give {apart}, or more lines of context",
                    places.join(", ")
                )
            }
            HunkReason::NoAnchor { anchor } => {
                write!(to, "should follow the line `{anchor}`, which is not there")
            }
            HunkReason::Applied { line } => write!(
                to,
                "does not apply: its new text is already there, at line {line}. Leave it out"
            ),
            HunkReason::NoContext => write!(
                to,
                "adds lines without context. Give some of the lines around them"
            ),
            HunkReason::NotEmpty { file_lines } => write!(
                to,
                "is for an empty file, but this one has {file_lines} lines. Give some lines of \
                 context, or delete the file in the same patch first"
            ),
        }
    }
}

fn failures_in_words(failures: &[HunkFailure], complete: bool) -> String {
    let mut words: Vec<String> = failures.iter().map(HunkFailure::to_string).collect();
    if !complete {
        words.push("The rest of the patch was not checked".to_owned());
    }
    words.join("\n")
}

fn either(paths: &[String]) -> String {
    paths.join(" or ")
}
