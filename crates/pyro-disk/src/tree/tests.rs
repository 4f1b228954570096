use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::entry::FileKind;
use crate::ext4::ReadAt;
use crate::testing::{edit, image, layer};

/// A folder `workspace` with one of everything in it.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("workspace");
    fs::create_dir_all(root.join("dir/deep")).unwrap();
    fs::write(root.join("small"), "hello").unwrap();
    fs::set_permissions(root.join("small"), fs::Permissions::from_mode(0o755)).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(root.join("dir/large"), large).unwrap();
    let sparse = fs::File::create(root.join("dir/sparse")).unwrap();
    for at in 0..200 {
        // So many pieces need a tree of extents and not only its root.
        sparse.write_all_at(b"piece", at * 40_000).unwrap();
    }
    sparse.set_len(9_000_000).unwrap();
    symlink("dir/large", root.join("short")).unwrap();
    symlink("x/".repeat(100), root.join("dir/long")).unwrap();
    symlink("dir", root.join("away")).unwrap();
    let odd = OsStr::from_bytes(b"new\nline \"'\xff");
    fs::write(root.join("dir").join(odd), "odd").unwrap();
    fs::write(root.join("n".repeat(255)), "").unwrap();
    for at in 0..600 {
        let name = format!("dir/deep/a-name-that-makes-the-folder-large-{at}");
        fs::write(root.join(name), at.to_string()).unwrap();
    }
    fs::File::open(root.join("small"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000))
        .unwrap();
    folder
}

/// Compares everything in two trees.
fn assert_same(one: &Tree, other: &Tree, path: &[u8]) {
    let entries = |tree: &Tree| {
        let mut entries = tree.list(path).unwrap();
        for entry in &mut entries {
            // `mke2fs` keeps whole seconds.
            entry.stat.mtime_ns -= entry.stat.mtime_ns.rem_euclid(1_000_000_000);
            // Each file system gives its own.
            entry.inode = 0;
        }
        entries.retain(|entry| entry.name != b"lost+found");
        entries
    };
    assert_eq!(entries(one), entries(other));
    for entry in entries(one) {
        let below = match path {
            b"" => entry.name.clone(),
            _ => [path, b"/", &entry.name].concat(),
        };
        assert_eq!(one.stat(&below).unwrap().unwrap().size, entry.stat.size);
        match entry.stat.kind {
            FileKind::Directory => assert_same(one, other, &below),
            FileKind::Symlink => {
                assert_eq!(one.target(&below).unwrap(), other.target(&below).unwrap());
            }
            _ => {
                let read = |tree: &Tree| tree.read(&below, usize::MAX).unwrap();
                assert!(read(one) == read(other), "{}", below.escape_ascii());
            }
        }
    }
}

#[test]
fn a_disk_holds_what_its_folder_held() {
    let folder = project();
    let root = folder.path().join("workspace");
    let host = Tree::folder(&root).unwrap();
    let here = tempfile::tempdir().unwrap();
    for block_size in ["1024", "4096"] {
        let path = here.path().join(block_size);
        image(folder.path(), &path, block_size, 24, 0xaa);
        let disk = Tree::disk(&[Layer::raw(&path)], b"workspace").unwrap();
        assert_same(&disk, &host, b"");
        let whole = Tree::disk(&[Layer::raw(&path)], b"").unwrap();
        assert_eq!(whole.read(b"workspace/small", 3).unwrap(), b"hel");
    }
}

/// A folder that a thread of this process serves.
fn served(root: &Path) -> Tree {
    let (asked, to) = io::pipe().unwrap();
    let (from, answers) = io::pipe().unwrap();
    let root = root.to_owned();
    std::thread::spawn(move || serve(&root, asked, answers).unwrap());
    Tree::served(to, from)
}

#[test]
fn a_served_folder_is_the_folder() {
    let folder = project();
    let root = folder.path().join("workspace");
    assert_same(&served(&root), &Tree::folder(&root).unwrap(), b"");
    let tree = served(&root);
    let piece = tree.read_from(b"dir/large", 2_999_000, usize::MAX).unwrap();
    assert_eq!(piece.len(), 1000);
    assert_eq!(
        tree.count(b"").unwrap(),
        Tree::folder(&root).unwrap().count(b"").unwrap()
    );
    assert_eq!(
        tree.resolve(b"away/../away/large", true).unwrap(),
        b"dir/large"
    );
}

#[test]
fn a_served_folder_whose_reader_has_gone_is_an_error() {
    let (asked, to) = io::pipe().unwrap();
    let (from, answers) = io::pipe().unwrap();
    drop((asked, answers));
    let tree = Tree::served(to, from);
    for _ in 0..2 {
        let error = tree.stat(b"file").unwrap_err();
        assert!(matches!(error, TreeError::Gone { .. }), "{error:?}");
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_the_last_one() {
    let (_asked, to) = io::pipe().unwrap();
    let nonsense = [0xa1, 0x67].repeat(100);
    let tree = Tree::served(to, io::Cursor::new(nonsense));
    for _ in 0..2 {
        let error = tree.stat(b"file").unwrap_err();
        assert!(matches!(error, TreeError::Gone { .. }), "{error:?}");
    }
}

#[test]
fn all_kinds_of_tree_refuse_alike() {
    let folder = project();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("image");
    image(folder.path(), &path, "4096", 24, 0);
    let trees = [
        Tree::folder(&folder.path().join("workspace")).unwrap(),
        Tree::disk(&[Layer::raw(&path)], b"workspace").unwrap(),
        served(&folder.path().join("workspace")),
    ];
    for tree in &trees {
        assert_eq!(tree.stat(b"missing").unwrap(), None);
        assert_eq!(tree.stat(b"small/below").unwrap(), None);
        // Links on the way are not followed.
        assert_eq!(tree.stat(b"away/large").unwrap(), None);
        let read = |path| tree.read(path, 10).unwrap_err();
        assert!(matches!(read(b"missing"), TreeError::NotFound { .. }));
        assert!(matches!(read(b"dir"), TreeError::WrongKind { .. }));
        assert!(matches!(read(b"short"), TreeError::WrongKind { .. }));
        let target = tree.target(b"small").unwrap_err();
        assert!(matches!(target, TreeError::WrongKind { .. }));
        let list = tree.list(b"small").unwrap_err();
        assert!(matches!(list, TreeError::WrongKind { .. }), "{list}");
        assert_eq!(tree.stat(b"").unwrap().unwrap().kind, FileKind::Directory);
    }
}

#[test]
fn layers_show_the_newest_of_each_place() {
    let folder = project();
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name);
    image(folder.path(), &at("0"), "4096", 24, 0);
    let new = at("new");
    fs::write(&new, "new content\n".repeat(20_000)).unwrap();
    let write = format!("write {} workspace/dir/new", new.display());
    let steps: [&[&str]; 3] = [
        &[&write],
        &["rm workspace/small", "mkdir workspace/made"],
        &[
            "rm workspace/dir/new",
            "symlink workspace/dir/new elsewhere",
        ],
    ];
    let mut layers = vec![Layer::raw(&at("0"))];
    for (number, commands) in steps.iter().enumerate() {
        let (before, after) = (at(&number.to_string()), at(&(number + 1).to_string()));
        fs::copy(&before, &after).unwrap();
        for command in *commands {
            edit(&after, command);
        }
        layers.push(layer(&before, &after, &at(&format!("{number}.qcow2"))));
    }
    for count in 1..=layers.len() {
        let chain = Tree::disk(&layers[..count], b"workspace").unwrap();
        let flat = Tree::disk(&[Layer::raw(&at(&(count - 1).to_string()))], b"workspace").unwrap();
        assert_same(&chain, &flat, b"");
    }
    let top = Tree::disk(&layers, b"workspace").unwrap();
    assert_eq!(top.stat(b"small").unwrap(), None);
    assert_eq!(top.target(b"dir/new").unwrap(), b"elsewhere");
    let below = Tree::disk(&layers[..2], b"workspace").unwrap();
    assert_eq!(below.read(b"dir/new", 11).unwrap(), b"new content");
}

#[test]
fn reserved_space_reads_as_zeros() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("workspace")).unwrap();
    fs::write(folder.path().join("workspace/file"), "begin").unwrap();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("image");
    image(folder.path(), &path, "4096", 8, 0xaa);
    edit(&path, "fallocate workspace/file 1 9");
    edit(&path, "set_inode_field workspace/file size 40000");
    let disk = Tree::disk(&[Layer::raw(&path)], b"workspace").unwrap();
    let content = disk.read(b"file", usize::MAX).unwrap();
    assert_eq!(content.len(), 40_000);
    assert_eq!(&content[..5], b"begin");
    assert!(content[5..].iter().all(|&byte| byte == 0));
}

#[test]
fn dates_before_1970_and_after_2038_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("image");
    image(folder.path(), &path, "4096", 8, 0);
    for seconds in [-86_400_i64, 0, 2_147_483_647, 2_147_483_648, 4_294_967_296] {
        edit(&path, &format!("set_inode_field file mtime @{seconds}"));
        let disk = Tree::disk(&[Layer::raw(&path)], b"").unwrap();
        let mtime = disk.stat(b"file").unwrap().unwrap().mtime_ns;
        assert_eq!(mtime, seconds * 1_000_000_000);
    }
}

#[test]
fn a_disk_that_is_not_clean_or_no_ext4_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("image");
    image(folder.path(), &path, "4096", 8, 0);
    let opened = || Tree::disk(&[Layer::raw(&path)], b"").map(drop);
    edit(&path, "feature needs_recovery");
    assert!(matches!(opened(), Err(TreeError::NotClean)));
    edit(&path, "feature -needs_recovery inline_data");
    assert!(matches!(opened(), Err(TreeError::Unsupported { .. })));
    for bytes in [vec![], vec![0; 100], vec![0; 1 << 20]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(opened(), Err(TreeError::Unsupported { .. })));
    }
    let missing = [Layer::raw(Path::new("missing")), Layer::raw(&path)];
    assert!(matches!(
        Tree::disk(&missing, b"").map(drop),
        Err(TreeError::Layer { .. })
    ));
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap().min(self.len());
        let there = &self[start..self.len().min(start + buffer.len())];
        buffer[..there.len()].copy_from_slice(there);
        buffer[there.len()..].fill(0);
        Ok(())
    }
}

/// Reads all that can be reached, as far as a damaged disk lets it.
fn explore(disk: &Ext4<Vec<u8>>, path: &[u8], budget: &mut u32) {
    let Ok(entries) = disk.list(path) else {
        return;
    };
    for entry in entries {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let below = [path, b"/", &entry.name].concat();
        let _ = disk.stat(&below);
        let _ = disk.target(&below);
        if let Ok(content) = disk.read(&below, 0, 100_000) {
            assert!(content.len() <= 100_000);
        }
        explore(disk, &below, budget);
    }
}

#[test]
fn a_damaged_disk_gives_errors_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    for name in ["a/one", "a/b/two"] {
        fs::write(folder.path().join(name), vec![1; 20_000]).unwrap();
    }
    symlink("x".repeat(100), folder.path().join("a/link")).unwrap();
    let here = tempfile::tempdir().unwrap();
    let path: PathBuf = here.path().join("image");
    image(folder.path(), &path, "1024", 4, 0);
    let whole = fs::read(&path).unwrap();
    // What is not zero is the metadata, mostly: the files are small.
    let interesting: Vec<usize> = (1024..whole.len() - 1)
        .filter(|&at| whole[at] > 1)
        .collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut opened = 0;
    for _ in 0..200 {
        let mut disk = whole.clone();
        for _ in 0..20 {
            let at = interesting[next() as usize % interesting.len()];
            disk[at] = next() as u8;
            disk[at + 1] ^= 1 << (next() % 8);
        }
        if let Ok(disk) = Ext4::open(disk, b"") {
            opened += 1;
            explore(&disk, b"", &mut 50);
        }
    }
    assert!(
        opened > 20,
        "only {opened} were damaged in an interesting way"
    );
}

#[test]
fn a_tree_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Tree>();
}
