//! System calls by number, so that what stopped an attempt is known by its name and errno.

use std::ffi::{CString, c_long};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// What an attempt came to: it worked, or this was in the way.
pub type Attempted = Result<(), Stopped>;

/// The call at which an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    pub call: String,
    pub errno: Errno,
    /// The file's owner and mode would have allowed it.
    pub mode_allows: bool,
}

impl Stopped {
    pub fn at(call: &str, errno: Errno) -> Self {
        Self {
            call: call.to_owned(),
            errno,
            mode_allows: false,
        }
    }
}

/// Makes a system call: `call!(SYS_openat, AT_FDCWD, path, flags)`. Callers keep what a pointer among
/// the arguments points to until it has returned.
macro_rules! call {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        $crate::attack::call::by_number(
            stringify!($number),
            libc::$number,
            &[$($argument as std::ffi::c_long),*],
        )
    };
}
pub(super) use call;

pub(super) fn by_number(
    constant: &str,
    number: c_long,
    arguments: &[c_long],
) -> Result<c_long, Stopped> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: an attempt passes what the call of this number takes, with memory that lives longer.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        let name = constant.strip_prefix("SYS_").unwrap_or(constant);
        return Err(Stopped::at(name, Errno::last()));
    }
    Ok(result)
}

pub(super) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Opens a file, and tells of a refusal whether owner and mode are the reason.
pub(super) fn open(path: &Path, flags: i32) -> Result<i32, Stopped> {
    open_at(libc::AT_FDCWD, path, flags)
}

pub(super) fn open_at(folder: i32, path: &Path, flags: i32) -> Result<i32, Stopped> {
    let name = c_path(path);
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = call!(SYS_openat, folder, name.as_ptr(), flags, 0o600);
    let refused = match opened {
        Ok(fd) => return Ok(fd as i32),
        Err(refused) => refused,
    };
    let asked = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => libc::R_OK,
        libc::O_WRONLY => libc::W_OK,
        _ => libc::R_OK | libc::W_OK,
    };
    // This call looks at owner and mode, and no module of the kernel's does.
    let allowed = call!(SYS_faccessat, folder, name.as_ptr(), asked).is_ok();
    Err(Stopped {
        mode_allows: allowed,
        ..refused
    })
}

pub(super) fn close(fd: i32) {
    let _ = call!(SYS_close, fd);
}

/// Opens for reading, and reads the first byte.
pub(super) fn read(path: &Path) -> Attempted {
    let fd = open(path, libc::O_RDONLY)?;
    let read = first_byte(fd);
    close(fd);
    read
}

fn first_byte(fd: i32) -> Attempted {
    let mut byte = [0u8; 1];
    match call!(SYS_read, fd, byte.as_mut_ptr(), 1)? {
        0 => Err(Stopped::at("read", Errno::ENODATA)),
        _ => Ok(()),
    }
}

/// Opens for writing, and writes nothing.
pub(super) fn may_write(path: &Path) -> Attempted {
    open(path, libc::O_WRONLY | libc::O_APPEND).map(close)
}

/// Makes a file, and takes it away again.
pub(super) fn create_in(folder: &Path) -> Attempted {
    let path = folder.join("of-the-attacker");
    open(&path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(close)?;
    let name = c_path(&path);
    call!(SYS_unlinkat, libc::AT_FDCWD, name.as_ptr(), 0).map(drop)
}

/// Does it in a child, so that what it changes of a process is not this one's; where no child can be
/// made, here.
pub(super) fn aside(attempt: impl FnOnce() -> Attempted) -> Attempted {
    match call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
        Ok(0) => {
            let code = match attempt() {
                Ok(()) => 0,
                Err(stopped) => stopped.errno as i32,
            };
            // SAFETY: ends this child without running what belongs to its parent.
            unsafe { libc::_exit(code) }
        }
        Ok(child) => wait(child).map_err(|errno| Stopped::at("in a child", errno)),
        Err(_) => attempt(),
    }
}

/// Waits for a child, whose status is an errno.
pub(super) fn wait(child: c_long) -> Result<(), Errno> {
    let mut status = 0i32;
    let waited = call!(SYS_wait4, child, &raw mut status, 0, 0);
    match waited {
        Ok(_) if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => Ok(()),
        Ok(_) if libc::WIFEXITED(status) => Err(Errno::from_raw(libc::WEXITSTATUS(status))),
        Ok(_) => Err(Errno::EINTR),
        Err(stopped) => Err(stopped.errno),
    }
}
