//! How many there are of something, and the names of the first of them.

/// How many are named.
const NAMES: usize = 5;

/// The bits of a mode that no copy keeps, as its owner is another, and the words for that.
pub(crate) const SET_ID: u32 = 0o6000;
pub(crate) const LOST_BIT: &str = "file or folder loses its set-user-id or set-group-id bit";
pub(crate) const LOST_BITS: &str = "files and folders lose their set-user-id or set-group-id bits";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SomeNames {
    count: u64,
    first: Vec<String>,
}

impl SomeNames {
    /// Takes another one, which has its name already in a form for people.
    pub(crate) fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMES {
            self.first.push(name());
        }
    }

    /// A line, when there are any: what they are, for one and for many.
    pub(crate) fn told(&self, one: &str, many: &str) -> Option<String> {
        let what = match self.count {
            0 => return None,
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        let more = if self.count > NAMES as u64 {
            ", …"
        } else {
            ""
        };
        Some(format!("{what}: {}{more}", self.first.join(", ")))
    }
}
