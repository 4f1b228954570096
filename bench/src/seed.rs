//! Folders for workspaces and containers to begin with.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use tokio::process::Command;

use super::lazy::Lazy;
use super::process;

/// A folder that is filled when somebody needs it.
pub(crate) type Folder = Rc<Lazy<PathBuf>>;

const FILES_IN_FOLDER: usize = 100;

/// A folder of text files, each of another text.
#[derive(Clone, Copy)]
pub(crate) struct Seed {
    pub(crate) files: usize,
    bytes_each: usize,
}

/// A project of 10 MB.
const PROJECT: Seed = Seed {
    files: 1_000,
    bytes_each: 10_000,
};

/// A large repository's number of files; how large they are matters less to whom looks for changes.
pub(crate) const REPOSITORY: Seed = Seed {
    files: 50_000,
    bytes_each: 500,
};

/// A project, there.
pub(crate) fn project(to: PathBuf) -> Folder {
    Lazy::new(move || {
        let to = to.clone();
        async move {
            PROJECT.write(&to)?;
            Ok(to)
        }
    })
}

impl Seed {
    pub(crate) fn write(self, to: &Path) -> Result<()> {
        for number in 0..self.files {
            let path = to.join(file(number));
            if number % FILES_IN_FOLDER == 0
                && let Some(folder) = path.parent()
            {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, self.text(number))?;
        }
        Ok(())
    }

    fn text(self, number: usize) -> String {
        let mut text = String::with_capacity(self.bytes_each + 80);
        for line in 0.. {
            if text.len() >= self.bytes_each {
                break;
            }
            // Multiplied by an odd number, so that no two lines of all are alike.
            let word = ((number << 16 | line) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let _ = writeln!(text, "let value_{line} = of({number}, 0x{word:016x});");
        }
        text.truncate(self.bytes_each - 1);
        text.push('\n');
        text
    }
}

/// Where a file is in its seed.
pub(crate) fn file(number: usize) -> PathBuf {
    let (folder, file) = (number / FILES_IN_FOLDER, number % FILES_IN_FOLDER);
    format!("part{folder:03}/file{file:02}.rs").into()
}

/// Makes a folder of files a git repository with one commit of all of them.
pub(crate) async fn commit(folder: &Path) -> Result<()> {
    let commands: [&[&str]; 3] = [
        &["init", "--quiet", "--template="],
        // Every file counts as a big one and goes into one pack at once: the repository has few
        // files of its own.
        &["-c", "core.bigFileThreshold=1", "add", "."],
        &[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "commit",
            "--quiet",
            "--message=seed",
        ],
    ];
    for words in commands {
        let mut git = Command::new("git");
        process::run(git.arg("-C").arg(folder).args(words)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_the_size_that_it_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let seed = Seed {
            files: 250,
            bytes_each: 300,
        };
        seed.write(folder.path()).expect("written");
        let sizes: Vec<u64> = (0..seed.files)
            .map(|number| fs::metadata(folder.path().join(file(number))))
            .map(|file| file.expect("a file").len())
            .collect();
        assert_eq!(sizes, [300; 250]);
        assert_eq!(fs::read_dir(folder.path()).expect("folders").count(), 3);
        assert_ne!(seed.text(0), seed.text(1));
    }
}
