//! The keys that lead to one server's entry in a document.

/// Where one server's entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryPath<'a> {
    /// The keys that lead to the table of servers.
    pub(crate) servers: &'a [&'a str],
    pub(crate) name: &'a str,
}

impl<'a> EntryPath<'a> {
    pub(crate) fn of(servers: &'a [&'a str], name: &'a str) -> Self {
        Self { servers, name }
    }

    /// The keys in words, up to one of them.
    pub(crate) fn words(&self, depth: usize) -> String {
        let keys = self.servers.iter().copied().chain([self.name]);
        keys.take(depth).collect::<Vec<_>>().join(".")
    }
}
