//! Whether a caller may name a path of this host at all.

use std::path::Path;

use pyro_api::{Caller, Error, Folders};
use pyro_transfer::host_paths::{AllowedFolders, expand_home, home};

use crate::error::broke;

/// Folders that a caller may use, as they are checked.
pub(crate) fn allowed(caller: &Caller) -> AllowedFolders {
    match caller.folders() {
        Folders::All => AllowedFolders::All,
        Folders::Only { folders, .. } => AllowedFolders::Only(folders.clone()),
    }
}

/// Refuses a path outside of the folders that the caller may use.
pub(crate) async fn admit(path: &Path, caller: &Caller) -> Result<(), Error> {
    let Folders::Only { folders, named_by } = caller.folders() else {
        return Ok(());
    };
    let home = home();
    let named = expand_home(path, home.as_deref());
    let (look, allowed) = (named.clone(), allowed(caller));
    let is_inside = tokio::task::spawn_blocking(move || allowed.contains(&look))
        .await
        .map_err(|error| broke(&error))?;
    let refused = |cause: String| {
        let what = "is outside the folders of this host that may be used here";
        Err(Error::invalid(format!("`{}` {what}", named.display()))
            .because(cause)
            .hint(format!(
                "Give a path below one of them; whoever runs this server can allow more with \
                 {named_by}"
            )))
    };
    match is_inside {
        Ok(true) => Ok(()),
        Ok(false) => {
            let folders: Vec<_> = folders.iter().map(|one| one.to_string_lossy()).collect();
            refused(format!("{named_by} allows {}", folders.join(", ")))
        }
        Err(error) => refused(format!("it cannot be resolved: {error}")),
    }
}
