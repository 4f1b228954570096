//! From what is at a path to what hunks apply to, and back.

use crate::change::Node;
use crate::error::PatchError;
use crate::mode;
use crate::parse::section::Section;
use crate::root::absolute;
use crate::text::shown;

const LONGEST_TARGET: usize = 4095;

/// Refuses what is no file (or link, where links will do).
pub(crate) fn not_a_file(
    section: &Section<'_>,
    path: &[u8],
    node: &Node,
    links: bool,
) -> Result<(), PatchError> {
    let what = match node {
        Node::Missing => "not there".to_owned(),
        Node::File { .. } => return Ok(()),
        Node::Link { .. } if links => return Ok(()),
        Node::Link { target } => format!(
            "a symbolic link to {}; patch that file instead",
            shown(target)
        ),
        Node::Folder => "a folder".to_owned(),
        Node::Special => "neither a file nor a folder".to_owned(),
        Node::TooLarge => {
            return Err(PatchError::TooLarge {
                path: absolute(path),
            });
        }
    };
    Err(PatchError::NotAFile {
        line: section.line,
        path: absolute(path),
        what,
    })
}

pub(crate) fn content_of(
    section: &Section<'_>,
    path: &[u8],
    node: Node,
    links: bool,
) -> Result<(Vec<u8>, Option<u32>), PatchError> {
    not_a_file(section, path, &node, links)?;
    Ok(match node {
        Node::File { content, mode } => (content.to_vec(), Some(mode)),
        Node::Link { target } => (target, None),
        Node::Missing | Node::Folder | Node::Special | Node::TooLarge => (Vec::new(), None),
    })
}

/// What comes of patched content; without a mode it is a link's target.
pub(crate) fn made(
    section: &Section<'_>,
    path: &[u8],
    content: Vec<u8>,
    old_mode: Option<u32>,
) -> Result<Node, PatchError> {
    let Some(old_mode) = old_mode else {
        return link(section, path, content);
    };
    if section.new_mode.is_some_and(mode::is_link) {
        return Err(PatchError::NotAFile {
            line: section.line,
            path: absolute(path),
            what: "a file; to make it a link, delete it and create a new one with `new file mode \
                   120000`"
                .to_owned(),
        });
    }
    Ok(Node::File {
        content: content.into(),
        mode: mode::changed(old_mode, section.old_mode, section.new_mode),
    })
}

pub(crate) fn link(
    section: &Section<'_>,
    path: &[u8],
    target: Vec<u8>,
) -> Result<Node, PatchError> {
    let fits = !target.is_empty() && target.len() <= LONGEST_TARGET && !target.contains(&0);
    match fits {
        true => Ok(Node::Link { target }),
        false => Err(PatchError::NotAFile {
            line: section.line,
            path: absolute(path),
            what: "a symbolic link without a usable target in this patch".to_owned(),
        }),
    }
}
