//! Attempts at files of the host.

use std::mem::size_of;
use std::path::Path;

use nix::errno::Errno;

use super::call::{
    Attempted, Stopped, c_path, call, close, create_in, may_write, open, open_at, read,
};
use super::given::Given;
use super::plan::Plan;

pub(super) fn list(folder: &Path) -> Attempted {
    let fd = open(folder, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut entries = [0u8; 1024];
    let listed = call!(SYS_getdents64, fd, entries.as_mut_ptr(), entries.len());
    close(fd);
    listed.map(drop)
}

/// Learns that a file is there.
pub(super) fn see(path: &Path) -> Attempted {
    let name = c_path(path);
    // SAFETY: all bits zero is such a structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call!(
        SYS_newfstatat,
        libc::AT_FDCWD,
        name.as_ptr(),
        &raw mut stat,
        0
    )
    .map(drop)
}

/// Up from where this process is, and from each folder that it was given.
pub(super) fn climb(_: &Plan) -> Attempted {
    let up = Path::new("../../../../../../../../../../etc/passwd");
    let mut result = reads_below(libc::AT_FDCWD, up);
    for fd in 0..256 {
        // SAFETY: all bits zero is such a structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        let known = call!(SYS_fstat, fd, &raw mut stat);
        if result.is_err() && known.is_ok() && stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            result = reads_below(fd, up);
        }
    }
    result
}

fn reads_below(folder: i32, path: &Path) -> Attempted {
    open_at(folder, path, libc::O_RDONLY).map(close)
}

/// What was open when this process was made, and is not for it.
pub(super) fn read_what_was_left_open(_: &Plan) -> Attempted {
    let given = Given::here();
    let others = (3..1024).filter(|fd| !given.named.contains(fd));
    first_success(others.map(|fd| {
        // SAFETY: all bits zero is such a structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        call!(SYS_fstat, fd, &raw mut stat)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            // A folder, a socket, a device: something to begin with.
            return Ok(());
        }
        let mut byte = [0u8; 1];
        match call!(SYS_pread64, fd, byte.as_mut_ptr(), 1, 0)? {
            // The VM's lock is empty.
            0 => Err(Stopped::at("pread64", Errno::ENODATA)),
            _ => Ok(()),
        }
    }))
}

/// By a handle of the file, which needs no path to it.
pub(super) fn open_by_handle(plan: &Plan) -> Attempted {
    let folder = open(Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut handle = [0u32; 34];
    handle[0] = 128;
    let name = c_path(&plan.key);
    let mut mount = 0i32;
    let named = call!(
        SYS_name_to_handle_at,
        libc::AT_FDCWD,
        name.as_ptr(),
        handle.as_mut_ptr(),
        &raw mut mount,
        0
    );
    if named.is_err() {
        // The root of every ext4, as an attacker knows it.
        handle = [0; 34];
        (handle[0], handle[1], handle[2]) = (8, 1, 2);
    }
    let opened = call!(
        SYS_open_by_handle_at,
        folder,
        handle.as_mut_ptr(),
        libc::O_RDONLY
    );
    close(folder);
    opened.map(|fd| close(fd as i32))
}

/// Whether a file can be written to that was given for reading.
pub(super) fn write_what_is_read(_: &Plan) -> Attempted {
    let files = Given::here().read_only;
    first_success(files.iter().map(|path| may_write(path)))
}

pub(super) fn write_and_read_what_is_read(_: &Plan) -> Attempted {
    let files = Given::here().read_only;
    first_success(files.iter().map(|path| open(path, libc::O_RDWR).map(close)))
}

/// The same by way of a descriptor that is open for reading, and of those that came with the process.
pub(super) fn reopen_for_writing(_: &Plan) -> Attempted {
    for path in Given::here().read_only {
        // Stays open; one that cannot be opened was no way to it.
        let _ = open(&path, libc::O_RDONLY);
    }
    let reopened = (0..256).filter_map(|fd| {
        let flags = call!(SYS_fcntl, fd, libc::F_GETFL).ok()? as i32;
        // SAFETY: all bits zero is such a structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        call!(SYS_fstat, fd, &raw mut stat).ok()?;
        let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let reads = flags & libc::O_ACCMODE == libc::O_RDONLY;
        // A file without a name is nobody else's.
        (is_file && reads && stat.st_nlink > 0)
            .then(|| may_write(Path::new(&format!("/proc/self/fd/{fd}"))))
    });
    first_success(reopened)
}

fn first_success(attempts: impl Iterator<Item = Attempted>) -> Attempted {
    let nothing = Err(Stopped::at("nothing was given", Errno::ENOENT));
    attempts.fold(nothing, |before, attempt| match before {
        Ok(()) => before,
        Err(_) => attempt,
    })
}

pub(super) fn chmod(plan: &Plan) -> Attempted {
    let name = c_path(&plan.key);
    call!(SYS_fchmodat, libc::AT_FDCWD, name.as_ptr(), 0o600).map(drop)
}

pub(super) fn chown(plan: &Plan) -> Attempted {
    let name = c_path(&plan.key);
    call!(SYS_fchownat, libc::AT_FDCWD, name.as_ptr(), -1, -1, 0).map(drop)
}

pub(super) fn set_times(plan: &Plan) -> Attempted {
    let name = c_path(&plan.key);
    call!(SYS_utimensat, libc::AT_FDCWD, name.as_ptr(), 0, 0).map(drop)
}

pub(super) fn set_attribute(plan: &Plan) -> Attempted {
    let name = c_path(&plan.key);
    let attribute = c"user.attacker";
    call!(
        SYS_setxattr,
        name.as_ptr(),
        attribute.as_ptr(),
        c"1".as_ptr(),
        1,
        0
    )
    .map(drop)
}

pub(super) fn truncate(plan: &Plan) -> Attempted {
    let name = c_path(&plan.notes);
    call!(SYS_truncate, name.as_ptr(), 1).map(drop)
}

pub(super) fn rename(plan: &Plan) -> Attempted {
    let away = plan.notes.with_extension("away");
    move_file(&plan.notes, &away)?;
    move_file(&away, &plan.notes)
}

fn move_file(from: &Path, to: &Path) -> Attempted {
    let (from, to) = (c_path(from), c_path(to));
    let here = libc::AT_FDCWD;
    call!(SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), 0).map(drop)
}

fn unlink(path: &Path) -> Attempted {
    let name = c_path(path);
    call!(SYS_unlinkat, libc::AT_FDCWD, name.as_ptr(), 0).map(drop)
}

/// A second name for the key, in the folder of the own disk.
pub(super) fn hard_link(plan: &Plan) -> Attempted {
    let name = Given::here().folder(plan).join("key");
    let (from, to) = (c_path(&plan.key), c_path(&name));
    let here = libc::AT_FDCWD;
    call!(SYS_linkat, here, from.as_ptr(), here, to.as_ptr(), 0)?;
    unlink(&name)
}

/// A link in the folder of the own disk, which others would follow.
pub(super) fn symbolic_link(plan: &Plan) -> Attempted {
    link_at(plan, &Given::here().folder(plan).join("link"))
}

fn link_at(plan: &Plan, place: &Path) -> Attempted {
    let (to, name) = (c_path(&plan.key), c_path(place));
    call!(SYS_symlinkat, to.as_ptr(), libc::AT_FDCWD, name.as_ptr())?;
    unlink(place)
}

/// A link to the key in the place of the own disk, for who opens that next.
pub(super) fn swap_disk_for_link(plan: &Plan) -> Attempted {
    let disk = Given::here().disk_path(plan);
    let away = disk.with_extension("away");
    move_file(&disk, &away)?;
    let linked = link_at(plan, &disk);
    move_file(&away, &disk)?;
    linked
}

fn own_disk() -> Result<i32, Stopped> {
    let disk = Given::here().disk();
    disk.ok_or_else(|| Stopped::at("no disk was given", Errno::ENOENT))
}

pub(super) fn create_beside_disk(plan: &Plan) -> Attempted {
    create_in(&Given::here().folder(plan))
}

pub(super) fn read_own_launch_file(plan: &Plan) -> Attempted {
    read(&Given::here().folder(plan).join("launch.json"))
}

pub(super) fn make_folder(plan: &Plan) -> Attempted {
    let name = c_path(&plan.home.join("folder-of-the-attacker"));
    call!(SYS_mkdirat, libc::AT_FDCWD, name.as_ptr(), 0o700)?;
    call!(
        SYS_unlinkat,
        libc::AT_FDCWD,
        name.as_ptr(),
        libc::AT_REMOVEDIR
    )
    .map(drop)
}

/// The host's disk under a new name.
pub(super) fn make_device(plan: &Plan) -> Attempted {
    let path = Path::new("/tmp").join(format!("device-of-{}", plan.stranger));
    let name = c_path(&path);
    let device = libc::makedev(1, 3);
    call!(
        SYS_mknodat,
        libc::AT_FDCWD,
        name.as_ptr(),
        libc::S_IFCHR | 0o600,
        device
    )?;
    unlink(&path)
}

/// Others may read the own disk.
pub(super) fn open_up_disk(_: &Plan) -> Attempted {
    call!(SYS_fchmod, own_disk()?, 0o600).map(drop)
}

/// A disk of more bytes than the guest was promised.
pub(super) fn grow_disk(_: &Plan) -> Attempted {
    beyond(|fd| call!(SYS_ftruncate, fd, FAR).map(drop))
}

pub(super) fn write_far_into_disk(_: &Plan) -> Attempted {
    beyond(|fd| call!(SYS_pwrite64, fd, c"x".as_ptr(), 1, FAR).map(drop))
}

/// 1 TiB.
const FAR: i64 = 1 << 40;

fn beyond(grow: impl Fn(i32) -> Attempted) -> Attempted {
    let fd = own_disk()?;
    // Says EFBIG instead of ending the process.
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: all bits zero is such a structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let known = call!(SYS_fstat, fd, &raw mut stat);
    let grown = known.and_then(|_| grow(fd));
    if grown.is_ok() {
        let _ = call!(SYS_ftruncate, fd, stat.st_size);
    }
    grown
}

/// Is told of each change in the home.
pub(super) fn watch(plan: &Plan) -> Attempted {
    let fd = call!(SYS_inotify_init1, libc::IN_CLOEXEC)?;
    let name = c_path(&plan.home);
    let watched = call!(
        SYS_inotify_add_watch,
        fd,
        name.as_ptr(),
        libc::IN_ALL_EVENTS
    );
    close(fd as i32);
    watched.map(drop)
}

/// Takes a shared memory of other programs of the user.
pub(super) fn attach_shared_memory(plan: &Plan) -> Attempted {
    let at = call!(SYS_shmat, plan.shared_memory, 0, libc::SHM_RDONLY)?;
    call!(SYS_shmdt, at).map(drop)
}

pub(super) fn message_queue(plan: &Plan) -> Attempted {
    let name = c_path(Path::new(&format!("of-the-attacker-{}", plan.stranger)));
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_EXCL;
    let queue = call!(SYS_mq_open, name.as_ptr(), flags, 0o600, 0)?;
    close(queue as i32);
    call!(SYS_mq_unlink, name.as_ptr()).map(drop)
}

/// The kernel's log.
pub(super) fn kernel_log(_: &Plan) -> Attempted {
    const READ_ALL: i32 = 3;
    let mut text = [0u8; 64];
    call!(SYS_syslog, READ_ALL, text.as_mut_ptr(), text.len()).map(drop)
}

/// A library or program of the host, by `openat2`, which an old filter does not know.
pub(super) fn by_openat2(plan: &Plan) -> Attempted {
    let name = c_path(&plan.key);
    let how = [libc::O_RDONLY as u64, 0, 0];
    let size = size_of::<[u64; 3]>();
    let fd = call!(
        SYS_openat2,
        libc::AT_FDCWD,
        name.as_ptr(),
        how.as_ptr(),
        size
    )?;
    close(fd as i32);
    Ok(())
}
