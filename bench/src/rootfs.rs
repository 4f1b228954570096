//! The files of the environment's image in a folder, so that every contender runs the same ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::lazy::Lazy;
use super::process;
use super::seed::Folder;

/// The same when somebody needs it.
pub(crate) fn extracted(image: &str, to: PathBuf) -> Folder {
    let image = image.to_owned();
    Lazy::new(move || {
        let (image, to) = (image.clone(), to.clone());
        async move {
            extract(&image, &to).await?;
            Ok(to)
        }
    })
}

/// Reads the image with debugfs: nothing is mounted, so nothing has to be unmounted. Only root can
/// keep the owners; other users own what they read. Sockets and devices are left out.
pub(crate) async fn extract(image: &str, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    let request = format!("rdump / {}", to.display());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut debugfs = Command::new("debugfs");
    debugfs
        // Where Debian keeps it, and where other users' PATH does not lead.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(["-R", &request, image]);
    process::run(&mut debugfs)
        .await
        .context("debugfs of e2fsprogs reads the image")?;
    // It reports no errors in its status.
    for program in ["true", "git", "python3"] {
        let path = to.join("usr/bin").join(program);
        ensure!(
            path.exists(),
            "debugfs did not write {} from {image}",
            path.display()
        );
    }
    Ok(())
}
