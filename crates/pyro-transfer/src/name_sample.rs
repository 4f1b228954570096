//! How many there are of something, and the names of the first of them.

/// How many are named.
const NAMED: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameSample {
    count: u64,
    first: Vec<String>,
}

impl NameSample {
    /// Takes another one, which has its name already in a form for people.
    pub(crate) fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name());
        }
    }

    /// A line, when there are any: what they are, for one and for many.
    pub(crate) fn line(&self, one: &str, many: &str) -> Option<String> {
        let what = match self.count {
            0 => return None,
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        let more = if self.count > NAMED as u64 {
            ", …"
        } else {
            ""
        };
        Some(format!("{what}: {}{more}", self.first.join(", ")))
    }
}
