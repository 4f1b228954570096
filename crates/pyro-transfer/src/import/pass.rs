//! A pass over a source: how far it is, and what it found and sent.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::error::ImportError;
use crate::names::escaped;
use crate::progress::{OnProgress, Totals};

/// How many repositories are named that were left alone.
const NAMED: usize = 5;

/// What a pass over a source found and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// All of the source.
    pub whole: Totals,
    /// What differed from the guest and was written.
    pub changed: Totals,
    /// Repository folders of the guest that differ from those of the source, and stay as they are.
    left_alone: BTreeSet<Vec<u8>>,
}

impl Packed {
    pub(super) fn left_alone(&mut self, folder: &[u8]) {
        if !self.left_alone.contains(folder) {
            self.left_alone.insert(folder.to_owned());
        }
    }

    /// A line for people about the repositories of the guest that differ and were left alone.
    pub fn note(&self) -> Option<String> {
        let mut text = self
            .left_alone
            .iter()
            .take(NAMED)
            .map(|name| format!("`{}`", escaped(name)))
            .collect::<Vec<_>>()
            .join(", ");
        match self.left_alone.len().checked_sub(NAMED) {
            _ if text.is_empty() => return None,
            None | Some(0) => {}
            Some(more) => text.push_str(&format!(" and {more} more")),
        }
        Some(format!(
            "the workspace keeps {text}, with what was committed there, which differs from this \
             host's; to replace it with this host's, remove it in the workspace and push again"
        ))
    }
}

pub(super) fn report(on_progress: &mut OnProgress<'_>, totals: Totals) -> Result<(), ImportError> {
    match on_progress(totals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ImportError::Cancelled),
    }
}
