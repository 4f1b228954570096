//! How much is in a folder of this host.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};

use crate::copy::CopyError;
use crate::copy::error::{read, too_deep, unusable};
use crate::folders::{self, DEEPEST};

/// What all that is in a folder takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Files, folders and all else, each once, however many names it has.
    pub files: u64,
    pub names: u64,
    /// Of the blocks of the files, holes not counted.
    pub bytes: u64,
}

/// Measures a folder that nobody writes to. No link is followed.
pub fn measure(folder: &Path) -> Result<Measure, CopyError> {
    let root = folders::open(folder).map_err(unusable(folder))?;
    let mut measure = Measure::default();
    let mut seen = HashSet::new();
    let mut frames = vec![enter(root, Vec::new(), &mut measure, &mut seen)?];
    while let Some(frame) = frames.last_mut() {
        let Some(name) = frame.folders.pop() else {
            frames.pop();
            continue;
        };
        let path = folders::join(&frame.path, &name).ok_or_else(|| too_deep(&frame.path))?;
        if frames.len() >= DEEPEST {
            return Err(too_deep(&path));
        }
        let above = &frames[frames.len() - 1].folder;
        let folder = folders::enter(above, &name).map_err(read(&path))?;
        let frame = enter(folder, path, &mut measure, &mut seen)?;
        frames.push(frame);
    }
    Ok(measure)
}

struct Frame {
    folder: OwnedFd,
    path: Vec<u8>,
    /// Those in it, that are still to be looked at.
    folders: Vec<Vec<u8>>,
}

/// Measures all that is in a folder itself.
fn enter(
    folder: OwnedFd,
    path: Vec<u8>,
    measure: &mut Measure,
    seen: &mut HashSet<(u64, u64)>,
) -> Result<Frame, CopyError> {
    let mut below = Vec::new();
    for (_, name) in folders::names(&folder).map_err(read(&path))? {
        let stat: FileStat =
            fstatat(&folder, name.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(read(&path))?;
        let is_folder = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        measure.names += 1;
        if is_folder || stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            measure.files += 1;
            measure.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        if is_folder {
            below.push(name);
        }
    }
    Ok(Frame {
        folder,
        path,
        folders: below,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_there_is_measured_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(at("a/file"), at("a/b/again")).unwrap();
        File::create(at("sparse"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        symlink("/", at("away")).unwrap();
        let found = measure(folder.path()).unwrap();
        assert_eq!((found.files, found.names), (5, 6));
        assert!((100_000..200_000).contains(&found.bytes), "{found:?}");

        let mut deep = at("deep");
        deep.extend(std::iter::repeat_n("d", 500));
        fs::create_dir_all(&deep).unwrap();
        let refused = measure(folder.path());
        assert!(matches!(refused, Err(CopyError::TooDeep { .. })));
    }
}
