//! Permission bits on the way between two owners.

use crate::name_sample::NameSample;

/// The bits that let a program run as its owner or group: set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// The bits that a copy keeps, which has another owner: a guest's root for what goes in, the user of
/// this host for what comes out.
pub(crate) fn kept(mode: u32) -> u32 {
    mode & 0o7777 & !SET_ID
}

/// Files and folders that lose a bit of their mode on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostBits(NameSample);

impl LostBits {
    /// Takes note of one if it loses a bit. Its name comes in a form for people.
    pub(crate) fn note(&mut self, mode: u32, name: impl FnOnce() -> String) {
        if mode & SET_ID != 0 {
            self.0.add(name);
        }
    }

    /// A line for people, when there are any.
    pub(crate) fn line(&self) -> Option<String> {
        self.0.line(
            "file or folder loses its set-user-id or set-group-id bit",
            "files and folders lose their set-user-id or set-group-id bits",
        )
    }
}
