//! Carries an indentation that differs from the file's over to added lines.

use crate::text::{indentation, is_blank};

/// How the indentation of a hunk becomes that of the file.
#[derive(Debug)]
pub(crate) struct Reindent<'l> {
    /// Of the patch, of the file; each of the patch once.
    known: Vec<(&'l [u8], &'l [u8])>,
}

impl<'l> Reindent<'l> {
    /// Learns from lines of the patch and the lines of the file that they stand for. `None` when
    /// one indentation of the patch would be two in the file.
    pub(crate) fn learn(pairs: impl Iterator<Item = (&'l [u8], &'l [u8])>) -> Option<Self> {
        let mut known: Vec<(&[u8], &[u8])> = Vec::new();
        for (patch, file) in pairs.filter(|(patch, _)| !is_blank(patch)) {
            let (patch, file) = (indentation(patch), indentation(file));
            match known.iter().find(|(known, _)| *known == patch) {
                Some((_, other)) if *other != file => return None,
                Some(_) => {}
                None => known.push((patch, file)),
            }
        }
        Some(Self { known })
    }

    /// The added line as the file would have it; `None` when that is anybody's guess.
    pub(crate) fn apply(&self, line: &[u8]) -> Option<Vec<u8>> {
        if is_blank(line) {
            return Some(line.to_vec());
        }
        let own = indentation(line);
        let rest = &line[own.len()..];
        if let Some((_, file)) = self.known.iter().find(|(patch, _)| *patch == own) {
            return Some([file, rest].concat());
        }
        let (patch, file) = self.known.first()?;
        if let Some(more) = file.strip_suffix(*patch) {
            let all = |(patch, file): &(&[u8], &[u8])| file.strip_suffix(*patch) == Some(more);
            return self.known.iter().all(all).then(|| [more, line].concat());
        }
        let less = patch.strip_suffix(*file)?;
        let all = |(patch, file): &(&[u8], &[u8])| patch.strip_suffix(*file) == Some(less);
        let shorter = own.strip_prefix(less)?;
        (self.known.iter().all(all)).then(|| [shorter, rest].concat())
    }
}
