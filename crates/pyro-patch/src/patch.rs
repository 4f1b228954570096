//! A patch from its text to its plan.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::change::{Node, Plan};
use crate::error::PatchError;
use crate::limits::MAX_PATCH;
use crate::parse::section::Section;
use crate::parse::{self, Format, mail};
use crate::plan;

/// A patch that was understood. It borrows its text.
#[derive(Debug)]
pub struct Patch<'t> {
    pub format: Format,
    sections: Vec<Section<'t>>,
}

/// The text of a patch as it was before a mail was encoded for its way; lines are counted in this.
pub fn decode_mail(text: &[u8]) -> Result<Cow<'_, [u8]>, PatchError> {
    if text.len() > MAX_PATCH {
        return Err(PatchError::TooLong { size: text.len() });
    }
    mail::decode(text)
}

impl<'t> Patch<'t> {
    /// Reads what the text says; prose and Markdown fences around it are passed over.
    pub fn parse(text: &'t [u8]) -> Result<Self, PatchError> {
        if text.len() > MAX_PATCH {
            return Err(PatchError::TooLong { size: text.len() });
        }
        let (format, sections) = parse::sections(text)?;
        Ok(Self { format, sections })
    }

    /// Whether any name begins with a folder, which `strip_folder` takes off.
    pub fn mentions_folder(&self, folder: &str) -> bool {
        let mut names = self.sections.iter().flat_map(Section::names);
        names.any(|name| name.is_below(folder.as_bytes()) == Some(true))
    }

    /// Takes a folder off the front of all names, as for a patch made above it. All must begin so.
    pub fn strip_folder(&mut self, folder: &str) -> Result<(), PatchError> {
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
            name.strip_folder(folder.as_bytes());
        }
        Ok(())
    }

    /// Every path that [`plan`](Self::plan) may ask about. Some are only other readings of a name
    /// in the patch (with and without `a/`), so that nothing there is no error.
    pub fn reads(&self) -> Result<BTreeSet<Vec<u8>>, PatchError> {
        let mut paths = BTreeSet::new();
        for section in &self.sections {
            section.reads(&mut paths)?;
        }
        Ok(paths)
    }

    /// Computes all changes, or says what does not fit. `old` is asked what is at a path now.
    pub fn plan(&self, old: impl Fn(&[u8]) -> Node) -> Result<Plan, PatchError> {
        plan::plan(&self.sections, &old)
    }
}
