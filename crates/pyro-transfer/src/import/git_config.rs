//! Git's configuration files, as far as single values are asked for.

/// Sections, keys and values as they stand. Includes are not followed.
#[derive(Debug, Default)]
pub(super) struct GitConfig {
    /// Section and key in lower case.
    values: Vec<(String, Vec<u8>)>,
}

impl GitConfig {
    /// Reads what can be read; what is no setting is passed over.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut config = Self::default();
        let mut section = String::new();
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            if let Some(rest) = line.strip_prefix(b"[") {
                let end = rest.iter().position(|&byte| byte == b']');
                let name = &rest[..end.unwrap_or(rest.len())];
                section = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
                continue;
            }
            if line.is_empty() || matches!(line[0], b'#' | b';') {
                continue;
            }
            let equals = line.iter().position(|&byte| byte == b'=');
            let (key, value) = match equals {
                Some(at) => (line[..at].trim_ascii(), value(line[at + 1..].trim_ascii())),
                None => (line, b"true".to_vec()),
            };
            let key = String::from_utf8_lossy(key).to_ascii_lowercase();
            config.values.push((format!("{section}.{key}"), value));
        }
        config
    }

    /// The value that counts, which is the last.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<Vec<u8>> {
        let key = format!("{section}.{key}");
        let found = self.values.iter().rev().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.clone())
    }
}

/// A value without its quotes and what is escaped in them, up to a comment.
fn value(text: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    let mut quoted = false;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => match bytes.next() {
                Some(b'n') => value.push(b'\n'),
                Some(b't') => value.push(b'\t'),
                Some(&other) => value.push(other),
                None => {}
            },
            b'#' | b';' if !quoted => break,
            byte => value.push(byte),
        }
    }
    if !text.ends_with(b"\"") {
        value.truncate(value.trim_ascii_end().len());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_git_reads_them() {
        let config = GitConfig::parse(
            b"# c\n[Core]\n\tbare\n\tworkTree = ../a b # c\n[extensions]\n refStorage = \"files\"\n\
              [remote \"core\"]\nworktree = no\n[core]\nworktree = \"../x \\\"y;\"\n=\n[",
        );
        assert_eq!(config.get("core", "bare").unwrap(), b"true");
        assert_eq!(config.get("core", "worktree").unwrap(), b"../x \"y;");
        assert_eq!(config.get("extensions", "refstorage").unwrap(), b"files");
        assert_eq!(config.get("core", "missing"), None);
        let config = GitConfig::parse(b"[core]\nworktree = ../a b # c");
        assert_eq!(config.get("core", "worktree").unwrap(), b"../a b");
    }
}
