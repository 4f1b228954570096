//! Whether a caller may name a path of this host at all.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error, Folders};

use super::names::{expand_home, home};
use crate::error::broke;

/// Refuses a path outside of the folders that the caller may use. Links are followed first, so
/// one that an earlier export made leads nowhere else.
pub(crate) async fn admit(path: &Path, caller: &Caller) -> Result<(), Error> {
    let Folders::Only { folders, named_by } = caller.folders() else {
        return Ok(());
    };
    let home = home();
    let named = expand_home(path, home.as_deref());
    let (look, allowed) = (named.clone(), folders.clone());
    let is_inside = tokio::task::spawn_blocking(move || is_inside(&look, &allowed))
        .await
        .map_err(|error| broke(&error))?;
    let refused = |cause: String| {
        let what = "is outside of the folders of this host that may be used here";
        Err(Error::invalid(format!("`{}` {what}", named.display()))
            .because(cause)
            .hint(format!(
                "Name a path below one of them; who set this server up can allow more with {named_by}"
            )))
    };
    match is_inside {
        Ok(true) => Ok(()),
        Ok(false) => {
            let folders: Vec<_> = folders.iter().map(|one| one.to_string_lossy()).collect();
            refused(format!("{named_by} allows {}", folders.join(", ")))
        }
        Err(error) => refused(format!("where it leads cannot be told: {error}")),
    }
}

/// The same for a path that something else names, with links resolved already. Blocks.
pub(crate) fn allows(allowed: &Folders, path: &Path) -> bool {
    match allowed {
        Folders::All => true,
        Folders::Only { folders, .. } => is_inside(path, folders).unwrap_or(false),
    }
}

fn is_inside(path: &Path, folders: &[PathBuf]) -> io::Result<bool> {
    let path = resolved(path)?;
    // One that is not there holds nothing.
    let mut folders = folders.iter().filter_map(|one| one.canonicalize().ok());
    Ok(folders.any(|folder| path.starts_with(folder)))
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
        let inside = |name: &str| is_inside(&at(name), &[at("allowed"), at("missing")]).ok();
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
}
