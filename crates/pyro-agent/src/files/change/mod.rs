//! Changes many files at once, or none.
//!
//! ```text
//! unpack   the archive, aside                   nothing of the workspace was touched
//! plan     compare with what is there
//! journal  write down every step, flush        from here on a crash is undone at the next start
//! apply    move, exchange, remove, set modes
//! index    for a baseline: what is there now
//! commit   remove the journal                  from here on it has happened
//! clean    remove what was replaced
//! ```
//!
//! One change at a time. The steps are done while commands run: a path that is replaced is never
//! missing for them, but they may see the first paths changed before the last.
//!
//! **A file that is edited stays the file that it is** ([`Change::edit`]): owner, mode, extended
//! attributes and all its names. One with a single name is exchanged like any other, for a file that
//! was given all of these, so that nobody ever reads half of it; only its inode is another. One
//! with several names has to be written in place, as nobody knows where the others are, and a
//! reader may see it half written. What it held is put aside before the journal says so, and is
//! written back when the change does not come to its end. (Editors do the same.)

mod apply;
pub(crate) mod cursor;
pub(crate) mod input;
mod journal;
mod plan;
mod staging;
pub(crate) mod unpack;

use std::fs;

use nix::sys::stat::fstat;
use nix::unistd::{Gid, Uid, syncfs};
use pyro_wire::exec::ExecControl;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::{Change, ChangeReply, Expected};
use pyro_wire::frame::{self, FrameError, Kind};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use crate::console;
use crate::files::archive::read::Archive;
use crate::files::change::apply::Trees;
use crate::files::change::cursor::Cursor;
use crate::files::change::input::{AHEAD, Input, Piece};
use crate::files::change::plan::Planner;
use crate::files::change::staging::StagingArea;
use crate::files::change_lock::ChangeLock;
use crate::files::error::FileError;
use crate::files::layout::{Disk, Layout};
use crate::files::links::Links;
use crate::files::{display, index, path, status};
use crate::host_files;
use crate::lifecycle::Lifecycle;
use crate::peer::{Peer, Reader, Writer};
use crate::user;

/// Carries out a change, whose archive follows on the stream.
pub(crate) async fn run<P: Peer>(
    layout: &Layout,
    lock: &ChangeLock,
    lifecycle: &Lifecycle,
    request: Change,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let reply = match lock.acquire().await {
        Some(guard) => change(layout, lifecycle, request, from, guard).await,
        None => {
            let words = "another change, or a copy of the disk, is still in progress";
            ChangeReply::Failed(Fault::new(FaultCode::Refused, words))
        }
    };
    frame::write_message(to, &reply).await
}

async fn change<P: Peer>(
    layout: &Layout,
    lifecycle: &Lifecycle,
    request: Change,
    from: &mut Reader<P>,
    guard: OwnedMutexGuard<()>,
) -> ChangeReply {
    let (pieces, queue) = mpsc::channel(AHEAD);
    let (reply, mut replied) = oneshot::channel();
    let layout = layout.clone();
    tokio::task::spawn_blocking(move || {
        // The next change may begin when this one has cleaned up, too.
        let _guard = guard;
        let (done, area) = match carry_out(&layout, &request, Input::new(queue)) {
            Ok((done, area)) => (Ok(done), Some(area)),
            Err(error) => (Err(error), None),
        };
        // The asking side may have gone, which changes nothing any more.
        let _ = reply.send(done.unwrap_or_else(|error| ChangeReply::Failed(error.fault())));
        drop(area);
    });
    tokio::select! {
        biased;
        reply = &mut replied => return ended(reply.ok()),
        () = feed(from, pieces) => {}
        // Dropping the pieces makes the change give up, unless all of them have come.
        () = lifecycle.closing() => {}
    }
    ended(replied.await.ok())
}

fn ended(reply: Option<ChangeReply>) -> ChangeReply {
    reply.unwrap_or_else(|| {
        ChangeReply::Failed(Fault::new(FaultCode::GuestIo, "the change did not finish"))
    })
}

/// Passes the archive on. Ends after its end, when the asking side is gone, and when nobody takes
/// any more of it.
pub(crate) async fn feed<P: Peer>(from: &mut Reader<P>, pieces: mpsc::Sender<Piece>) {
    while let Ok(Some(frame)) = frame::read(from).await {
        let piece = match frame.kind {
            Kind::Input => Piece::Data(frame.body),
            Kind::Message if matches!(frame.message(), Ok(ExecControl::InputEnd)) => Piece::End,
            _ => continue,
        };
        let last = matches!(piece, Piece::End);
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

fn carry_out(
    layout: &Layout,
    request: &Change,
    input: Input,
) -> Result<(ChangeReply, StagingArea), FileError> {
    let destination = path::normalize(&request.destination)?;
    let remove = request.remove.iter().map(|path| path::normalize(path));
    let remove: Vec<Vec<u8>> = remove.collect::<Result<_, _>>()?;
    let owner = owner(layout, request)?;
    recover(layout)?;
    let mut area = StagingArea::create(layout)?;
    same_disk(layout, &area)?;

    let archive = Archive::new(input);
    let new = area.new_tree()?;
    let links = request.follow.then(|| layout.links()).transpose()?;
    let links = links.as_ref();
    let masked = match layout.disk() {
        // `/proc` is a folder of somebody else's there.
        Disk::Outside => host_files::MASK.bits(),
        Disk::Ours | Disk::Behind | Disk::Shared => unpack::umask(),
    };
    let hashing = request.baseline;
    let mut unpacked = unpack::unpack(archive, new, destination, hashing, links, masked, owner)?;

    let mut trees = Trees::open(&area, layout)?;
    let planner = Planner::new(&mut trees, request);
    let (steps, removed) = planner.plan(&remove, &unpacked.folders)?;
    journal::write(&area.journal(), &steps)?;
    if layout.disk() == Disk::Ours {
        syncfs(area.old_files()?)
            .map_err(|error| FileError::at("write", "the unpacked files to the disk", error))?;
    }

    let mut done = check(&request.expect, links, &mut trees.workspace);
    if done.is_ok() {
        done = steps
            .iter()
            .try_for_each(|step| trees.apply(step))
            .and_then(|()| trees.set_folder_metadata(&mut unpacked.folders));
    }
    if done.is_ok() && request.baseline {
        let workspace = layout.open_workspace()?;
        done = index::record(workspace, &area.index(), &unpacked.hashes);
    }
    if let Err(error) = done.and_then(|()| journal::remove(&area.journal())) {
        undo(&mut area, &mut trees, &steps)?;
        return Err(error);
    }
    if request.baseline {
        take_index(layout, &area)?;
    }
    if layout.disk() == Disk::Ours {
        // What was answered outlasts the VM. Nothing can be undone any more, and a disk that fails
        // now fails for the next change as well.
        let _ = area.old_files().map(syncfs);
    }
    let done = ChangeReply::Done {
        entries: unpacked.entries,
        bytes: unpacked.bytes,
        removed,
    };
    Ok((done, area))
}

/// Whose everything new is to be.
fn owner(layout: &Layout, request: &Change) -> Result<Option<(Uid, Gid)>, FileError> {
    let Some(asked) = &request.user else {
        return Ok(None);
    };
    let found = user::find(layout.backend(), asked)?;
    Ok(Some(found.credentials.owner()))
}

/// Moving things works on one disk only, and half of a change on another would be no change.
fn same_disk(layout: &Layout, area: &StagingArea) -> Result<(), FileError> {
    let device = |folder| {
        fstat(folder)
            .map(|status| status.st_dev)
            .map_err(|error| FileError::io("access", b"", error))
    };
    if device(layout.make_workspace()?)? == device(area.old_files()?)? {
        return Ok(());
    }
    Err(FileError::refused(format!(
        "something other than the workspace's disk is mounted at {}",
        display::path(b"")
    )))
}

/// Whether everything is as the asking side believes.
fn check(
    expected: &[Expected],
    links: Option<&Links>,
    workspace: &mut Cursor,
) -> Result<(), FileError> {
    for Expected { path, stamp } in expected {
        let path = path::normalize(path)?;
        let path = links.map_or(Ok(path.clone()), |links| links.follow(&path))?;
        let found = workspace.find(&path)?.map(|status| status::stamp(&status));
        if found != *stamp {
            let why = match (stamp, found) {
                (None, _) => "has been created since it was read",
                (Some(_), None) => "no longer exists",
                (Some(_), Some(_)) => "was changed since it was read",
            };
            return Err(FileError::conflict(&path, why));
        }
    }
    Ok(())
}

fn undo(
    area: &mut StagingArea,
    trees: &mut Trees,
    steps: &[journal::Step],
) -> Result<(), FileError> {
    trees
        .undo(steps)
        .and_then(|()| journal::remove(&area.journal()))
        .inspect_err(|error| {
            // The next change, and the next start, try once more.
            area.keep(true);
            console::report(format_args!("a change could not be undone: {error}"));
        })
}

/// Finishes what a crash has broken off: undoes a change that was not committed, or cleans up
/// after one that was.
pub(crate) fn recover(layout: &Layout) -> Result<(), FileError> {
    let Some(mut area) = StagingArea::leftover(layout) else {
        return Ok(());
    };
    let steps = journal::read(&area.journal())
        .map_err(|source| FileError::at("read", "the journal of a change", source))?;
    match steps {
        Some(steps) => {
            let mut trees = Trees::leftover(&area, layout, &steps)?;
            undo(&mut area, &mut trees, &steps)?;
        }
        None if area.index().exists() => take_index(layout, &area)?,
        None => {}
    }
    area.keep(false);
    Ok(())
}

/// Makes the new baseline the one that counts.
fn take_index(layout: &Layout, area: &StagingArea) -> Result<(), FileError> {
    fs::rename(area.index(), layout.index())
        .map_err(|source| FileError::at("replace", "the index of the baseline", source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::*;
    use crate::backend::Backend;
    use crate::files::change::unpack::FolderMeta;

    /// Names can be exchanged, or cannot, see `apply`.
    const BOTH: [Disk; 2] = [Disk::Shared, Disk::Outside];

    /// All that the workspace is made of: names, modes, times of folders, contents.
    fn tree(folder: &Path) -> Vec<String> {
        let about = folder.symlink_metadata().unwrap();
        let name = folder.display();
        if about.is_symlink() {
            return vec![format!("{name} -> {:?}", folder.read_link().unwrap())];
        }
        if about.is_file() {
            let content = fs::read_to_string(folder).unwrap();
            return vec![format!("{name} {:o} {content}", about.mode())];
        }
        let mut all = vec![format!(
            "{name} {:o} {}.{}",
            about.mode(),
            about.mtime(),
            about.mtime_nsec()
        )];
        let mut inside: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        inside.sort_by_key(|entry| entry.file_name());
        all.extend(inside.iter().flat_map(|entry| tree(&entry.path())));
        all
    }

    /// A workspace, a change of it that does everything a change can do, and its steps.
    fn prepared(
        home: &Path,
        disk: Disk,
    ) -> (Layout, StagingArea, Vec<journal::Step>, Vec<FolderMeta>) {
        let workspace = home.join("workspace");
        for folder in ["stays", "goes/inner", "mode"] {
            fs::create_dir_all(workspace.join(folder)).unwrap();
        }
        for file in ["stays/replaced", "stays/removed", "goes/file", "becomes"] {
            fs::write(workspace.join(file), "old").unwrap();
        }
        symlink("old", workspace.join("link")).unwrap();
        fs::write(workspace.join("named"), "old and long").unwrap();
        fs::set_permissions(workspace.join("named"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(workspace.join("named"), workspace.join("stays/named too")).unwrap();
        fs::set_permissions(workspace.join("goes"), fs::Permissions::from_mode(0o710)).unwrap();
        let layout = Layout::new(&Backend::Process { folder: workspace }).on(disk);
        let area = StagingArea::create(&layout).unwrap();
        let new = layout.change().join("new");
        for folder in ["stays", "fresh/inner", "becomes", "mode"] {
            fs::create_dir_all(new.join(folder)).unwrap();
        }
        for file in [
            "stays/replaced",
            "stays/added",
            "fresh/inner/file",
            "becomes/file",
            "named",
        ] {
            fs::write(new.join(file), "new").unwrap();
        }
        symlink("new", new.join("link")).unwrap();

        let folders = [("mode", 0o700), ("fresh", 0o500)].map(|(path, mode)| FolderMeta {
            path: path.into(),
            mode,
            mtime_ns: 5,
        });
        let remove = [
            "goes",
            "goes/inner",
            "goes/file",
            "stays/removed",
            "becomes",
        ];
        let remove = remove.map(|path| path.as_bytes().to_vec());
        let mut trees = Trees::open(&area, &layout).unwrap();
        let request = Change {
            edit: true,
            ..Change::default()
        };
        let planner = Planner::new(&mut trees, &request);
        let (steps, removed) = planner.plan(&remove, &folders).unwrap();
        assert_eq!(removed, 5);
        journal::write(&area.journal(), &steps).unwrap();
        (layout, area, steps, folders.into())
    }

    #[test]
    fn whatever_was_done_before_a_crash_is_undone() {
        BOTH.into_iter().for_each(undone_after_a_crash);
    }

    fn undone_after_a_crash(disk: Disk) {
        let mut after = 0;
        loop {
            let home = tempfile::tempdir().unwrap();
            let (layout, mut area, steps, mut folders) = prepared(home.path(), disk);
            let workspace = home.path().join("workspace");
            let before = tree(&workspace);
            let mut trees = Trees::open(&area, &layout).unwrap();
            for step in &steps[..after.min(steps.len())] {
                trees.apply(step).unwrap();
            }
            if after > steps.len() {
                trees.set_folder_metadata(&mut folders).unwrap();
                assert_ne!(tree(&workspace), before);
            }
            // As a crash does, leave everything there.
            area.keep(true);
            drop(area);
            recover(&layout).unwrap();
            assert_eq!(tree(&workspace), before, "after {after} of {steps:?}");
            assert!(!layout.change().exists());
            if after > steps.len() {
                return;
            }
            after += 1;
        }
    }

    #[test]
    fn what_others_wrote_into_a_file_with_several_names_stays() {
        BOTH.into_iter().for_each(others_writing_stays);
    }

    fn others_writing_stays(disk: Disk) {
        let home = tempfile::tempdir().unwrap();
        let (layout, area, steps, _) = prepared(home.path(), disk);
        let named = home.path().join("workspace/named");
        // Within one tick of the clock a change cannot be told from none.
        let before = fs::metadata(&named).unwrap();
        while fs::metadata(&named).unwrap().ctime_nsec() == before.ctime_nsec() {
            fs::write(&named, "theirs").unwrap();
        }
        let mut trees = Trees::open(&area, &layout).unwrap();
        let failed = steps.iter().filter(|step| trees.apply(step).is_err());
        assert_eq!(failed.count(), 1);
        trees.undo(&steps).unwrap();
        assert_eq!(fs::read_to_string(&named).unwrap(), "theirs");
    }

    #[test]
    fn what_was_committed_before_a_crash_is_kept() {
        BOTH.into_iter().for_each(committed_is_kept);
    }

    fn committed_is_kept(disk: Disk) {
        let home = tempfile::tempdir().unwrap();
        let (layout, mut area, steps, mut folders) = prepared(home.path(), disk);
        let mut trees = Trees::open(&area, &layout).unwrap();
        steps.iter().try_for_each(|step| trees.apply(step)).unwrap();
        trees.set_folder_metadata(&mut folders).unwrap();
        let after = tree(&home.path().join("workspace"));
        fs::write(area.index(), "the next index").unwrap();
        journal::remove(&area.journal()).unwrap();
        area.keep(true);
        drop(area);
        recover(&layout).unwrap();
        assert_eq!(tree(&home.path().join("workspace")), after);
        assert_eq!(
            fs::read_to_string(layout.index()).unwrap(),
            "the next index"
        );
        assert!(!layout.change().exists());
    }

    #[test]
    fn a_journal_that_was_cut_off_undoes_nothing() {
        BOTH.into_iter().for_each(cut_off_undoes_nothing);
    }

    fn cut_off_undoes_nothing(disk: Disk) {
        let home = tempfile::tempdir().unwrap();
        let (layout, mut area, ..) = prepared(home.path(), disk);
        let before = tree(&home.path().join("workspace"));
        let journal = fs::read(area.journal()).unwrap();
        fs::write(area.journal(), &journal[..journal.len() - 3]).unwrap();
        area.keep(true);
        drop(area);
        recover(&layout).unwrap();
        assert_eq!(tree(&home.path().join("workspace")), before);
    }

    #[test]
    fn others_who_are_faster_are_not_overwritten() {
        BOTH.into_iter().for_each(faster_is_not_overwritten);
    }

    fn faster_is_not_overwritten(disk: Disk) {
        let home = tempfile::tempdir().unwrap();
        let (layout, area, steps, _) = prepared(home.path(), disk);
        let workspace = home.path().join("workspace");
        // Somebody makes and removes things after they were looked at.
        fs::write(workspace.join("stays/added"), "theirs").unwrap();
        fs::remove_file(workspace.join("stays/replaced")).unwrap();
        fs::create_dir(workspace.join("stays/replaced")).unwrap();
        let mut trees = Trees::open(&area, &layout).unwrap();
        let failed: Vec<_> = steps
            .iter()
            .filter_map(|step| trees.apply(step).err().map(|error| error.to_string()))
            .collect();
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert_eq!(
            fs::read_to_string(workspace.join("stays/added")).unwrap(),
            "theirs"
        );
        assert!(workspace.join("stays/replaced").is_dir());
        trees.undo(&steps).unwrap();
        assert_eq!(
            fs::read_to_string(workspace.join("goes/file")).unwrap(),
            "old"
        );
        assert_eq!(
            fs::read_to_string(workspace.join("stays/added")).unwrap(),
            "theirs"
        );
    }
}
