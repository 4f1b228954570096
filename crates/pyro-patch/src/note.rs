//! Where a patch was taken less literally than it was written, for whoever wrote it.

use std::fmt;

use crate::root::absolute;

/// How a hunk was taken less literally than it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leniency {
    /// So many lines below the stated one.
    Offset(isize),
    LineEnds,
    TrailingSpace,
    /// Up to two outer lines of context differ.
    LessContext,
    /// White space within lines, and how far they are indented.
    Indentation,
    /// Not behind its anchor, but nowhere else.
    Anchor,
    /// Not at the end of the file, where it said that it is.
    NotAtEnd,
    /// Its head says that so many more lines follow, and the patch ends.
    Short(usize),
}

/// What was not done just as it was written.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
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
    /// What GNU diff found on one side only and left out for want of `-N`.
    OneSided { names: Vec<String> },
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
                let path = absolute(path);
                let folder = label.split('/').next().unwrap_or_default();
                return write!(
                    to,
                    "`{label}` was taken as {path}: git puts `{folder}/` before names, and there is \
                     no folder {}",
                    absolute(folder.as_bytes())
                );
            }
            Self::Properties { path, names } => {
                let (path, names) = (absolute(path), names.join(", "));
                return write!(to, "{path}: Subversion's properties were left out: {names}");
            }
            Self::OneSided { names } => {
                return write!(
                    to,
                    "on one side only, and not in the patch (`diff -N` includes them): {}",
                    names.join(", ")
                );
            }
        };
        let path = absolute(path);
        write!(to, "{path}: hunk {hunk} applied at line {line}, ")?;
        match leniency {
            Leniency::Offset(lines) => {
                let (count, side) = (
                    lines.unsigned_abs(),
                    if *lines < 0 { "above" } else { "below" },
                );
                let unit = if count == 1 { "line" } else { "lines" };
                write!(to, "{count} {unit} {side} the stated one")
            }
            Leniency::LineEnds => write!(to, "with the file's own line endings"),
            Leniency::TrailingSpace => write!(to, "ignoring white space at line ends"),
            Leniency::LessContext => write!(to, "although its outer lines of context differ"),
            Leniency::Indentation => {
                write!(to, "ignoring white space, and indented as the file is")
            }
            Leniency::Anchor => write!(
                to,
                "the only place where it applies, which is not after its anchor"
            ),
            Leniency::NotAtEnd => write!(to, "which is not at the end of the file"),
            Leniency::Short(1) => write!(to, "although its header announces one more line"),
            Leniency::Short(lines) => {
                write!(to, "although its header announces {lines} more lines")
            }
        }
    }
}
