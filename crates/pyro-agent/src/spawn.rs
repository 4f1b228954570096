//! Starts a program in a new process, without copying this one.
//!
//! Between `fork` and `exec` parent and child share their pages until one of them writes, and each
//! first write to a page is a fault; under emulation those cost more than everything else about a
//! start. So the child borrows the agent's memory, on a stack of its own, while the agent stands
//! still (what `vfork` does). It makes system calls and does nothing else, and what stopped it is
//! simply there in memory afterwards.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use crate::user::Credentials;
use crate::witness;

/// The child makes some ten calls, none of which nests.
const STACK: usize = 32 * 1024;

/// Who runs a file that is executable and no program, as shells have it.
const SHELL: &CStr = c"/bin/sh";

/// Where programs are looked for without `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What to start, and how.
pub(crate) struct Program {
    argv: Vec<CString>,
    /// Where the program may be, in the order of trying.
    candidates: Vec<CString>,
    env: Vec<CString>,
    stdio: [OwnedFd; 3],
}

/// What the new process does before `exec`.
pub(crate) struct PreExec<'a> {
    pub(crate) cwd: RawFd,
    /// `cgroup.procs` of the control group to enter.
    pub(crate) cgroup_procs: Option<RawFd>,
    pub(crate) dies_with_parent: bool,
    /// The agent is kept from the kernel's killing for want of memory, and the program is not to be.
    pub(crate) loses_protection: bool,
    /// Its standard input is a terminal, and becomes the controlling terminal of its session.
    pub(crate) controlling_terminal: bool,
    /// Where a witness of that terminal is to sit, see [`witness`].
    pub(crate) witness: Option<RawFd>,
    /// Whom it becomes. Without one it stays who the agent is.
    pub(crate) user: Option<&'a Credentials>,
}

/// Why nothing was started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpawnError {
    /// There is no new process.
    Process(Errno),
    /// The new process failed before `exec`.
    PreExec(Errno),
    /// It could not become who was asked for.
    User(Errno),
    /// The program could not be executed.
    Program(Errno),
}

impl Program {
    /// `argv` is not empty. Neither it nor `env` holds a NUL byte.
    pub(crate) fn new(
        argv: &[OsString],
        env: impl IntoIterator<Item = (OsString, OsString)>,
        stdio: [OwnedFd; 3],
    ) -> io::Result<Self> {
        let [stdin, stdout, stderr] = stdio;
        let env: Vec<_> = env.into_iter().collect();
        let path = env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, path)| path.as_bytes());
        let name = argv.first().map(OsString::as_os_str).unwrap_or_default();
        Ok(Self {
            candidates: candidates(name, path)?,
            argv: argv
                .iter()
                .map(|word| Ok(CString::new(word.as_bytes())?))
                .collect::<io::Result<_>>()?,
            env: env
                .into_iter()
                .map(|(name, value)| {
                    let mut variable = name.into_vec();
                    variable.push(b'=');
                    variable.extend_from_slice(value.as_bytes());
                    Ok(CString::new(variable)?)
                })
                .collect::<io::Result<_>>()?,
            stdio: [
                above_stdio(stdin)?,
                above_stdio(stdout)?,
                above_stdio(stderr)?,
            ],
        })
    }

    /// Starts it; tells the id of its process.
    pub(crate) fn spawn(&self, pre_exec: &PreExec<'_>) -> Result<i32, SpawnError> {
        let argv = pointers(&self.argv);
        // `sh SCRIPT ARGUMENT…`: the script is filled in when it is known.
        let mut shell_argv = vec![SHELL.as_ptr(), ptr::null()];
        shell_argv.extend(argv.iter().skip(1));
        let mut child = Child {
            pre_exec,
            stdio: self.stdio.each_ref().map(AsRawFd::as_raw_fd),
            candidates: pointers(&self.candidates),
            argv,
            shell_argv,
            env: pointers(&self.env),
            failed: None,
        };
        let mut stack = Box::new([const { MaybeUninit::<u128>::uninit() }; STACK / 16]);
        let mut before = SigSet::empty();
        // A handler must not run in the child, where it would be in this process's memory.
        sigprocmask(
            SigmaskHow::SIG_SETMASK,
            Some(&SigSet::all()),
            Some(&mut before),
        )
        .map_err(SpawnError::Process)?;
        // SAFETY: the stack is the child's alone, aligned, and outlives it, as does `child`: with
        // CLONE_VFORK this thread goes on when the child has become a program or ended.
        let pid = Errno::result(unsafe {
            libc::clone(
                child_main,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                ptr::from_mut(&mut child).cast(),
            )
        });
        // What was allowed before is allowed; it cannot fail.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
        let pid = pid.map_err(SpawnError::Process)?;
        match child.failed {
            None => Ok(pid),
            Some(failed) => {
                // SAFETY: it has ended, and nobody else waits for it as long as this thread is here.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                Err(failed)
            }
        }
    }
}

/// What the child needs, made before it is.
struct Child<'a> {
    pre_exec: &'a PreExec<'a>,
    stdio: [RawFd; 3],
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    shell_argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// Written by the child, read by the parent.
    failed: Option<SpawnError>,
}

extern "C" fn child_main(child: *mut c_void) -> c_int {
    // SAFETY: the parent's, which stands still.
    let child = unsafe { &mut *child.cast::<Child<'_>>() };
    child.failed = Some(match child.prepare().map_err(SpawnError::PreExec) {
        Ok(()) => match child.become_user().map_err(SpawnError::User) {
            Ok(()) => SpawnError::Program(child.execute()),
            Err(failed) => failed,
        },
        Err(failed) => failed,
    });
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

impl Child<'_> {
    fn prepare(&self) -> Result<(), Errno> {
        // SAFETY: plain system calls on open descriptors and constant, terminated strings.
        unsafe {
            Errno::result(libc::setsid())?;
            if self.pre_exec.controlling_terminal {
                Errno::result(libc::ioctl(self.stdio[0], libc::TIOCSCTTY, 0))?;
            }
            // Before it is in the command's group, of which the witness is none.
            if let Some(seat) = self.pre_exec.witness {
                witness::leave(seat, self.stdio[0])?;
            }
            if let Some(procs) = self.pre_exec.cgroup_procs {
                // Before the command can start a process: nothing escapes.
                Errno::result(libc::write(procs, c"0".as_ptr().cast(), 1))?;
            } else {
                // Orphans come to the command itself, where `Group` finds them.
                Errno::result(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1))?;
            }
            if self.pre_exec.dies_with_parent {
                Errno::result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            }
            if self.pre_exec.loses_protection {
                let file = libc::open(
                    c"/proc/self/oom_score_adj".as_ptr(),
                    libc::O_WRONLY | libc::O_CLOEXEC,
                );
                if file >= 0 {
                    libc::write(file, c"0".as_ptr().cast(), 1);
                    libc::close(file);
                }
            }
            Errno::result(libc::fchdir(self.pre_exec.cwd))?;
            for (number, fd) in (0..).zip(self.stdio) {
                Errno::result(libc::dup2(fd, number))?;
            }
            // What `std` ignores would stay ignored; every other signal has its default action once
            // the program runs.
            if libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_ERR {
                return Err(Errno::last());
            }
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
    }

    /// Last of all: it must have been root for everything before. What shares the agent's memory with
    /// it cannot be looked into by the user meanwhile, as the kernel takes that away with the rights.
    ///
    /// By the calls themselves: the C library would change every thread of the agent as well.
    fn become_user(&self) -> Result<(), Errno> {
        let Some(Credentials { uid, gid, groups }) = self.pre_exec.user else {
            return Ok(());
        };
        let (uid, gid) = (*uid, *gid);
        // SAFETY: plain system calls; the groups are the parent's, which stands still.
        unsafe {
            let (count, all) = (groups.len(), groups.as_ptr());
            Errno::result(libc::syscall(libc::SYS_setgroups, count, all))?;
            Errno::result(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            Errno::result(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        Ok(())
    }

    /// Returns only when there is nothing to execute; why, as `execvp` has it.
    fn execute(&mut self) -> Errno {
        let mut denied = false;
        for path in self.candidates.iter().filter(|path| !path.is_null()) {
            // SAFETY: terminated strings in arrays that a null pointer ends, which the parent keeps.
            unsafe { libc::execve(*path, self.argv.as_ptr(), self.env.as_ptr()) };
            match Errno::last() {
                Errno::ENOEXEC => {
                    self.shell_argv[1] = *path;
                    // SAFETY: as above.
                    unsafe {
                        libc::execve(SHELL.as_ptr(), self.shell_argv.as_ptr(), self.env.as_ptr())
                    };
                    return Errno::last();
                }
                Errno::EACCES => denied = true,
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV => {}
                other => return other,
            }
        }
        if denied { Errno::EACCES } else { Errno::ENOENT }
    }
}

/// Where a program of this name may be.
fn candidates(name: &OsStr, path: &[u8]) -> io::Result<Vec<CString>> {
    let name = name.as_bytes();
    if name.is_empty() || name.contains(&b'/') {
        return Ok(vec![CString::new(name)?]);
    }
    path.split(|byte| *byte == b':')
        .map(|folder| {
            let mut path = folder.to_vec();
            // Without a name it means the current folder.
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            Ok(CString::new(path)?)
        })
        .collect()
}

/// An array as `execve` takes it.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// A descriptor that is not in the way of the standard three.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel just made it, for us alone.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::reaper::CHILDREN;

    /// Runs a program to its end; its status and what it wrote.
    fn run(words: &[&str], variables: &[(&str, &str)]) -> Result<(i32, String), SpawnError> {
        run_by(None, words, variables)
    }

    fn run_by(
        user: Option<&Credentials>,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(i32, String), SpawnError> {
        let _children = CHILDREN.blocking_lock();
        let (mut reader, writer) = io::pipe().unwrap();
        let nothing = || OwnedFd::from(File::open("/dev/null").unwrap());
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let program =
            Program::new(&words, variables, [nothing(), writer.into(), nothing()]).unwrap();
        let root = File::open("/").unwrap();
        let started = program.spawn(&PreExec {
            cwd: root.as_raw_fd(),
            cgroup_procs: None,
            dies_with_parent: true,
            loses_protection: false,
            controlling_terminal: false,
            witness: None,
            user,
        });
        drop(program);
        let pid = started?;
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        Ok((libc::WEXITSTATUS(status), text))
    }

    #[test]
    fn a_program_gets_its_words_variables_and_folder() {
        let line = "echo $A \"$@\"; pwd; exit 3";
        let ran = run(&["/bin/sh", "-c", line, "sh", "b  c"], &[("A", "a")]);
        assert_eq!(ran, Ok((3, "a b  c\n/\n".into())));
    }

    #[test]
    fn a_name_is_looked_for_in_path_and_a_script_without_shell_line_runs() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("greet");
        fs::write(&script, "echo hello $1\n").unwrap();
        let path = format!("/nowhere:/dev/null:{}", folder.path().display());
        let greet = || run(&["greet", "you"], &[("PATH", &path)]);
        assert_eq!(greet(), Err(SpawnError::Program(Errno::EACCES)));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(greet(), Ok((0, "hello you\n".into())));
        let missing = run(&["no such program"], &[("PATH", &path)]);
        assert_eq!(missing, Err(SpawnError::Program(Errno::ENOENT)));
    }

    #[test]
    fn a_user_has_its_own_groups_and_none_of_roots_rights() {
        if !nix::unistd::geteuid().is_root() {
            println!("NOT PLAYED: only root becomes somebody else");
            return;
        }
        let user = Credentials {
            uid: 4711,
            gid: 4712,
            groups: vec![50, 60],
        };
        let (_, status) = run_by(Some(&user), &["/bin/cat", "/proc/self/status"], &[]).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), ["4711"; 4], "{status}");
        assert_eq!(field("Gid:"), ["4712"; 4]);
        assert_eq!(field("Groups:"), ["50", "60"]);
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{status}");
        }
        // Who started it is who it was.
        assert!(nix::unistd::geteuid().is_root());
        let unreadable = run_by(Some(&user), &["/bin/cat", "/etc/shadow"], &[]).unwrap();
        assert_eq!(unreadable, (1, String::new()));
    }

    #[test]
    fn signals_have_their_default_action_and_none_is_blocked() {
        let (_, status) = run(&["/bin/cat", "/proc/self/status"], &[]).unwrap();
        let mask = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let (_, digits) = line.split_once('\t').unwrap();
            u64::from_str_radix(digits, 16).unwrap()
        };
        let pipe = 1 << (libc::SIGPIPE - 1);
        assert_eq!((mask("SigBlk"), mask("SigIgn") & pipe), (0, 0), "{status}");
    }
}
