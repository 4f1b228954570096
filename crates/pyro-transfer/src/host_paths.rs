//! Paths of this host: what `~` means in them, and whether they may be used at all.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders of this host that may be read from and written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedFolders {
    All,
    /// These, and what is below them.
    Only(Arc<[PathBuf]>),
}

impl AllowedFolders {
    /// Whether a path is in one of them. Links are followed first, so one that an earlier export made
    /// leads nowhere else. An error: where it leads cannot be told. Blocks.
    pub fn contains(&self, path: &Path) -> io::Result<bool> {
        let Self::Only(folders) = self else {
            return Ok(true);
        };
        let path = resolved(path)?;
        // One that is not there holds nothing.
        let mut folders = folders.iter().filter_map(|one| one.canonicalize().ok());
        Ok(folders.any(|folder| path.starts_with(folder)))
    }

    /// The same, where one whose target cannot be told is outside.
    pub(crate) fn allow(&self, path: &Path) -> bool {
        self.contains(path).unwrap_or(false)
    }
}

/// The folder that `~` stands for.
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

/// Replaces a `~` in front by the home folder, as a shell would have done.
pub fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home.to_owned(),
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Where a path leads when all links are followed, also when its last parts are not there yet.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut there = path.as_path();
    let mut missing: Vec<&OsStr> = Vec::new();
    loop {
        match there.canonicalize() {
            Ok(base) => {
                return Ok(missing
                    .iter()
                    .rev()
                    .fold(base, |path, name| path.join(name)));
            }
            // A link without a target is there, and may get one.
            Err(error)
                if error.kind() != io::ErrorKind::NotFound || there.symlink_metadata().is_ok() =>
            {
                return Err(error);
            }
            Err(error) => {
                // `..` has no name: where it leads depends on what is made before it.
                let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else {
                    return Err(error);
                };
                missing.push(name);
                there = parent;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_judged_by_where_it_leads() {
        let host = tempfile::tempdir().unwrap();
        let at = |name: &str| host.path().join(name);
        fs::create_dir_all(at("allowed/below")).unwrap();
        fs::create_dir(at("allowed-not")).unwrap();
        fs::create_dir(at("other")).unwrap();
        fs::write(at("other/file"), "").unwrap();
        symlink(at("other"), at("allowed/out")).unwrap();
        symlink(at("allowed"), at("in")).unwrap();
        symlink(at("other/new"), at("allowed/dangling")).unwrap();
        let allowed = AllowedFolders::Only([at("allowed"), at("missing")].into());
        let inside = |name: &str| allowed.contains(&at(name)).ok();
        let told: [(Option<bool>, &[&str]); 3] = [
            (
                Some(true),
                &[
                    "allowed",
                    "allowed/below",
                    "allowed/new/newer",
                    "in/below",
                    "in/new",
                    "other/../allowed",
                ],
            ),
            (
                Some(false),
                &[
                    "",
                    "allowed-not",
                    "other/file",
                    "allowed/out",
                    "allowed/out/file",
                    "allowed/out/new",
                    "allowed/..",
                    "allowed/below/../../other",
                    "missing/file",
                ],
            ),
            (
                None,
                &[
                    "allowed/dangling",
                    "allowed/dangling/new",
                    "allowed/new/../../other",
                    "other/file/below",
                ],
            ),
        ];
        for (told, names) in told {
            for name in names {
                assert_eq!(inside(name), told, "{name}");
            }
        }
    }

    #[test]
    fn only_a_lone_tilde_in_front_is_the_home_folder() {
        let home = Some(Path::new("/home/u"));
        let expand = |path: &str| expand_home(Path::new(path), home);
        assert_eq!(expand("~"), Path::new("/home/u"));
        assert_eq!(expand("~/a"), Path::new("/home/u/a"));
        assert_eq!(expand("~other/a"), Path::new("~other/a"));
        assert_eq!(expand("a/~"), Path::new("a/~"));
    }
}
