//! Unified diffs: understood, placed, made.
//!
//! ```text
//! decode_mail(text)    without what a mail's way did to it
//! Patch::parse(text)   what the text says: sections, one for each file, with their hunks
//! Patch::reads()       the paths whose old state is needed
//! Patch::plan(old)     all file changes together, or what does not fit
//!
//! text_diff(path, before, after)     a diff that this crate, git and GNU patch apply again
//! binary_diff(path, before, after)   the same as `git diff --binary`
//! ```
//!
//! Patches are taken as people, tools and models write them: unified diffs in many dialects (git,
//! GNU, Mercurial, Subversion, with wrong line numbers or none), and the form from `*** Begin Patch`
//! to `*** End Patch`. A hunk that is not where it says is looked for, from strict to lenient; where
//! it went is noted, and where two places fit equally well nothing is guessed.
//!
//! ```
//! use pyro_patch::{Node, Patch, Side, text_diff};
//!
//! let side = |content| Side::File { content, mode: 0o644 };
//! let text = text_diff(b"greeting", side(b"hello\n"), side(b"hello, world\n")).unwrap();
//!
//! // A line more in front since the diff was made.
//! let patch = Patch::parse(&text)?;
//! let plan = patch.plan(|path| match path {
//!     b"greeting" => Node::File { content: (*b"# said\nhello\n").into(), mode: 0o644 },
//!     _ => Node::Missing,
//! })?;
//!
//! let change = &plan.changes[0];
//! assert_eq!(change.path, b"greeting");
//! let patched = Node::File { content: (*b"# said\nhello, world\n").into(), mode: 0o644 };
//! assert_eq!(change.after, patched);
//! assert_eq!(
//!     plan.notes[0].to_string(),
//!     "/workspace/greeting: hunk 1 applied at line 2, 1 line below the stated one"
//! );
//! # Ok::<(), pyro_patch::PatchError>(())
//! ```
//!
//! Paths are relative to [`ROOT`]; a name that leads out of it, or into a repository's own folder
//! (`.git` and its like), is refused. Everything is bytes, so that a file in Latin-1 can be patched.
//! What comes from outside is bounded in size ([`MAX_PATCH`], [`MAX_FILE`]) and in work.
//!
//! Not here: files. The caller reads old contents before, and carries changes out after. No I/O, no
//! clock, no async.
//!
//! Ready-made crates were tried and turned down: diffy and flickzeug want numbers in every hunk
//! header, take the nearest of several places that fit without a word, and say nothing about what
//! is there instead; mpatch knows only UTF-8.

mod base85;
mod blob_id;
mod budget;
mod change;
mod diff;
mod error;
mod limits;
mod mode;
mod nearest;
mod note;
mod parse;
mod patch;
mod plan;
mod repository;
mod root;
#[cfg(test)]
mod tests;
mod text;

pub use change::{FileChange, Node, Plan, Status};
pub use diff::{Side, binary_diff, text_diff};
pub use error::{HunkFailure, HunkReason, NOT_TO_BE_CHANGED, PatchError};
pub use limits::{MAX_FILE, MAX_PATCH};
pub use nearest::{NearLine, Nearest};
pub use note::{Leniency, Note};
pub use parse::Format;
pub use patch::{Patch, decode_mail};
pub use root::ROOT;
