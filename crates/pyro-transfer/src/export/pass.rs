//! A pass over a guest's archive: how far it is, and what is told of it.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use super::error::ExportError;
use crate::archive::{Member, MemberKind};
use crate::mode::LostBits;
use crate::names::printable;
use crate::progress::{OnProgress, Totals};

const BUFFER: usize = 256 * 1024;

pub(super) struct Pass<'a> {
    /// What the archive's root is told as.
    called: &'a OsStr,
    pub(super) totals: Totals,
    pub(super) lost_bits: LostBits,
    /// For data on its way.
    pub(super) buffer: Vec<u8>,
    on_progress: &'a mut OnProgress<'a>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(called: &'a OsStr, on_progress: &'a mut OnProgress<'a>) -> Self {
        Self {
            called,
            totals: Totals::default(),
            lost_bits: LostBits::default(),
            buffer: vec![0; BUFFER],
            on_progress,
        }
    }

    pub(super) fn note_mode(&mut self, name: &[u8], member: &Member) {
        if !matches!(member.kind, MemberKind::File | MemberKind::Folder) {
            return;
        }
        let name = match name {
            b"" => self.called.as_bytes(),
            name => name,
        };
        self.lost_bits
            .note(member.mode, || format!("`{}`", printable(name)));
    }

    pub(super) fn report(&mut self) -> Result<(), ExportError> {
        match (self.on_progress)(self.totals) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Cancelled),
        }
    }
}
