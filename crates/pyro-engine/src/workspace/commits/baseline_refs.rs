//! What a repository's branches had when the workspace was made, read from the baseline.

use std::collections::{BTreeMap, BTreeSet};

use pyro_disk::{FileKind, Tree, TreeError};

/// How many tips are remembered; more make a command line too long.
const MOST_TIPS: usize = 1_000;
/// How much of a list of references is read.
const LIST: usize = 32 * 1024 * 1024;
/// How much of one reference is read.
const ONE: usize = 4096;
/// How often a reference may name another.
const STEPS: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BaselineRefs {
    /// The commit that `HEAD` was; `None` where there was none, or no repository.
    pub(crate) head: Option<String>,
    /// The branch that it was on, in full.
    pub(crate) branch: Option<String>,
    /// That one, and the newest of each branch, also of other repositories.
    pub(crate) tips: BTreeSet<String>,
    /// Why it is not known.
    pub(crate) unknown_because: Option<&'static str>,
}

impl BaselineRefs {
    /// Of the repository whose own folder this is. Blocks.
    pub(crate) fn read(tree: &Tree, folder: &[u8]) -> Result<Self, TreeError> {
        let at = |name: &str| within(folder, name);
        if tree.stat(&at("reftable"))?.is_some() {
            return Ok(Self {
                unknown_because: Some("it keeps its branches in a `reftable`"),
                ..Self::default()
            });
        }
        let mut references = Reader {
            tree,
            folder,
            packed: BTreeMap::new(),
        };
        if let Some(list) = file(tree, &at("packed-refs"), LIST)? {
            references.packed = packed(&list);
        }
        let head = references.commit("HEAD")?;
        let branch = file(tree, &at("HEAD"), ONE)?;
        let branch = branch.as_deref().and_then(named);
        let mut tips: BTreeSet<String> = head.iter().cloned().collect();
        for kind in ["refs/heads", "refs/remotes"] {
            let mut loose = Vec::new();
            let top = at(kind);
            let is_folder = |kind| kind == FileKind::Directory;
            if tree.stat(&top)?.is_some_and(|stat| is_folder(stat.kind)) {
                tree.walk(&top, |path, stat| {
                    if stat.kind == FileKind::File && loose.len() < MOST_TIPS {
                        loose.push(path.to_vec());
                    }
                })?;
            }
            for path in loose {
                let value = file(tree, &path, ONE)?;
                tips.extend(value.as_deref().and_then(id));
            }
            let below = format!("{kind}/");
            let packed = references.packed.iter();
            tips.extend(
                packed
                    .filter(|(name, _)| name.starts_with(&below))
                    .map(|(_, id)| id.clone())
                    .take(MOST_TIPS),
            );
            if tips.len() >= MOST_TIPS {
                break;
            }
        }
        let tips = head.iter().cloned().chain(tips).take(MOST_TIPS).collect();
        Ok(Self {
            head,
            branch,
            tips,
            unknown_because: None,
        })
    }
}

/// `/workspace` itself may be a bare repository.
fn within(folder: &[u8], name: &str) -> Vec<u8> {
    match folder {
        b"" => name.as_bytes().to_vec(),
        folder => [folder, b"/", name.as_bytes()].concat(),
    }
}

struct Reader<'t> {
    tree: &'t Tree,
    folder: &'t [u8],
    packed: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn commit(&self, name: &str) -> Result<Option<String>, TreeError> {
        let mut name = name.to_owned();
        for _ in 0..STEPS {
            let plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !plain || name.contains('\0') {
                return Ok(None);
            }
            let path = within(self.folder, &name);
            let Some(value) = file(self.tree, &path, ONE)? else {
                return Ok(self.packed.get(&name).cloned());
            };
            match named(&value) {
                None => return Ok(id(&value)),
                Some(other) => name = other,
            }
        }
        Ok(None)
    }
}

/// The other reference that one names.
fn named(value: &[u8]) -> Option<String> {
    let name = value.strip_prefix(b"ref: ")?;
    Some(String::from_utf8_lossy(name).trim().to_owned())
}

fn file(tree: &Tree, path: &[u8], limit: usize) -> Result<Option<Vec<u8>>, TreeError> {
    match tree.stat(path)? {
        Some(stat) if stat.kind == FileKind::File => tree.read(path, limit).map(Some),
        _ => Ok(None),
    }
}

/// The names of a `packed-refs`, each with what it names.
fn packed(list: &[u8]) -> BTreeMap<String, String> {
    let lines = list.split(|byte| *byte == b'\n');
    let named = lines.filter_map(|line| {
        let (value, name) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        let name = std::str::from_utf8(&name[1..]).ok()?;
        Some((name.to_owned(), id(value)?))
    });
    named.collect()
}

/// The name of an object in hexadecimal digits, by SHA-1 or SHA-256.
pub(super) fn id(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii();
    let is_one = matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    is_one.then(|| String::from_utf8_lossy(text).into_owned())
}
