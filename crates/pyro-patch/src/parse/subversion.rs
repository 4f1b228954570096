//! The properties that Subversion keeps beside a file. Of them only `svn:executable` is something
//! that a file has anywhere else.

use super::lines::Lines;
use super::section::Section;
use crate::mode::{FILE, PROGRAM};

pub(crate) fn begins(line: &[u8]) -> bool {
    line.starts_with(b"Property changes on: ")
}

/// Reads them up to the next file, for the section before.
pub(crate) fn read_properties<'t>(lines: &mut Lines<'t>, mut section: Option<&mut Section<'t>>) {
    lines.advance();
    while let Some(line) = lines.peek() {
        if line.starts_with(b"Index: ") || line.starts_with(b"diff ") || begins(line) {
            return;
        }
        lines.advance();
        let named = |word: &[u8]| line.strip_prefix(word).map(<[u8]>::trim_ascii);
        let set = named(b"Added: ").or_else(|| named(b"Modified: "));
        let (Some(section), Some(name)) = (&mut section, set.or_else(|| named(b"Deleted: ")))
        else {
            continue;
        };
        if name != b"svn:executable" {
            section.properties.push(name);
        } else if section.deleted_mode.is_none() {
            let mode = if set.is_some() { PROGRAM } else { FILE };
            match section.created_mode {
                Some(_) => section.created_mode = Some(mode),
                None => section.new_mode = Some(mode),
            }
        }
    }
}
