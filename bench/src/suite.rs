//! The test suite of a package that people use, and pytest: of fixed versions, from PyPI, fetched by
//! this host's pip. Nothing of it runs on the host but what pip needs to look at the source.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::contender::NotHere;
use super::lazy::Lazy;
use super::process;
use super::seed::Folder;

/// Its tests are in its source only.
const PACKAGE: &str = "click==8.1.7";
const RUNNER: &str = "pytest==8.3.4";

/// What the guests have, whatever the host has.
const PYTHON: &str = "3.11";

const HUNG: Duration = Duration::from_secs(180);

/// An archive of both, below this folder.
pub(crate) fn archive(folder: PathBuf) -> Folder {
    Lazy::new(move || {
        let folder = folder.clone();
        async move { fetch(&folder).await }
    })
}

async fn fetch(folder: &Path) -> Result<PathBuf> {
    let parts = folder.join("parts");
    fs::create_dir_all(&parts)?;
    for words in [
        &["--no-deps", "--no-binary", "click", PACKAGE][..],
        &["--only-binary", ":all:", "--python-version", PYTHON, RUNNER],
    ] {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--dest"]);
        process::run_within(pip.arg(&parts).args(words), HUNG)
            .await
            .context(NotHere("this host's pip got no test suite from its index"))?;
    }
    let archive = folder.join("suite.tar");
    let mut tar = Command::new("tar");
    tar.arg("--directory")
        .arg(&parts)
        .args(["--create", "--file"]);
    process::run(tar.arg(&archive).arg(".")).await?;
    Ok(archive)
}
