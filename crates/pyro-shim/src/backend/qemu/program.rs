//! Which files QEMU is made of, for its jail: asked of QEMU itself, and remembered for as long as it is the same.
//!
//! It is started as for a guest, but without one, until its monitor answers. By then the C library has
//! named each library and each module that was looked for and found (`LD_DEBUG`), and `/proc` tells which program it is,
//! whatever script or link stands before it. Its folders of firmware it lists itself (`-L help`).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use pyro_wire::fault::{Fault, FaultCode};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::command_line::{Accelerator, COMMON_ARGUMENTS, MACHINE};
use super::machine::{explain_failure, not_started, pair};
use super::qmp::Qmp;
use crate::backend::child::{Inherit, spawn};
use crate::backend::probe_cache::{Identity, identity};
use crate::backend::{BootFailure, Death};
use crate::folder;

/// Beside the other things that are remembered of a host.
const FILE: &str = "qemu-files.json";

/// Other programs of the same user keep their answers too, but not without end.
const MAX_ENTRIES: usize = 16;

/// Changes with each library that is installed.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// Where the loader looks first, and where QEMU looks for its modules.
const PASSED: [&str; 2] = ["LD_LIBRARY_PATH", "QEMU_MODULE_DIR"];

/// How long a monitor may take that answers in a fraction of a second, and a QEMU to end that has given up.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to list some folders.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// What the C library tells of libraries has some ten kilobytes.
const TOLD_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QemuProgram {
    pub(crate) binary: PathBuf,
    /// Itself, its libraries and modules, its folders of firmware.
    pub(crate) read: Vec<PathBuf>,
    /// What of its environment it needs.
    pub(crate) environment: Vec<(String, String)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: Key,
    program: QemuProgram,
}

/// Of what an answer is true.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    binary: Identity,
    loader_cache: Option<Identity>,
    accelerator: String,
    environment: Vec<(String, String)>,
}

/// The program behind a name, by what is remembered or by asking it, which takes some 0.2 s.
pub(super) async fn find(
    binary: &Path,
    accelerator: Accelerator,
    probe_cache: &Path,
) -> Result<QemuProgram, BootFailure> {
    let file = probe_cache.with_file_name(FILE);
    let key = identity(binary).map(|binary| Key {
        binary,
        loader_cache: identity(Path::new(LOADER_CACHE)),
        accelerator: accelerator.name().into(),
        environment: passed(|name| std::env::var(name).ok()),
    });
    let known = key.as_ref().and_then(|key| {
        let entries = read(&file).entries.into_iter();
        entries
            .filter(|entry| entry.key == *key)
            .map(|entry| entry.program)
            .find(|program| program.read.iter().all(|path| path.exists()))
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let program = ask(binary, accelerator).await?;
    if let Some(key) = key {
        remember(&file, key, &program);
    }
    Ok(program)
}

fn passed(value: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let set = |name: &str| Some((name.to_owned(), value(name)?));
    PASSED.into_iter().filter_map(set).collect()
}

fn read(file: &Path) -> Remembered {
    let text = fs::read(file).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

/// The file is a convenience: without it the question is asked again.
fn remember(file: &Path, key: Key, program: &QemuProgram) {
    let mut entries = read(file).entries;
    entries.retain(|entry| entry.key != key);
    let program = program.clone();
    entries.insert(0, Entry { key, program });
    entries.truncate(MAX_ENTRIES);
    if let Some(folder) = file.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let _ = folder::write_atomically(file, &Remembered { entries });
}

async fn ask(binary: &Path, accelerator: Accelerator) -> Result<QemuProgram, BootFailure> {
    let failed = |error| BootFailure::lasting(not_started(binary, &error));
    let (mut child, monitor, errors) = start(binary, accelerator).map_err(failed)?;
    let mut told = Vec::new();
    let mut errors = errors.take(TOLD_BYTES as u64);
    let greeted = async {
        // What it says is read all the while, or it would wait for that.
        tokio::select! {
            greeted = Qmp::open(monitor) => greeted.is_ok(),
            _ = errors.read_to_end(&mut told) => false,
        }
    };
    let program = match timeout(ASK_TIMEOUT, greeted).await {
        Ok(true) => child.id().map(look_at),
        // It is about to end, and with which status tells something.
        Ok(false) => {
            let _ = timeout(END_TIMEOUT, child.wait()).await;
            None
        }
        Err(_) => {
            let seconds = ASK_TIMEOUT.as_secs();
            let words = format!("QEMU's monitor did not answer within {seconds} s");
            return Err(BootFailure::passing(Fault::new(
                FaultCode::BootTimeout,
                words,
            )));
        }
    };
    let _ = child.start_kill();
    let status = child.wait().await.map_err(failed)?;
    let _ = errors.read_to_end(&mut told).await;
    let told = String::from_utf8_lossy(&told).into_owned();
    let Some(program) = program else {
        let said: Vec<String> = told
            .lines()
            .filter(|line| !is_of_loader(line))
            .map(str::to_owned)
            .collect();
        let (kind, message) = explain_failure(status, &said);
        return Err(Death {
            kind,
            message,
            vmm_log: said,
        }
        .into());
    };
    let mut program = program.map_err(failed)?;
    program.read.extend(named_by_loader(&told));
    program.read.extend(firmware(binary).await);
    program.read.sort();
    program.read.dedup();
    Ok(program)
}

fn start(
    binary: &Path,
    accelerator: Accelerator,
) -> io::Result<(Child, tokio::net::UnixStream, tokio::process::ChildStderr)> {
    let (monitor, monitor_end) = pair()?;
    let socket = format!(
        "socket,id=monitor,fd={}",
        std::os::fd::AsRawFd::as_raw_fd(&monitor_end)
    );
    let mut command = Command::new(binary);
    command
        .args(COMMON_ARGUMENTS)
        .args(["-S", "-m", "64M", "-machine", MACHINE])
        .args(accelerator.arguments())
        .args(["-chardev", &socket, "-mon", "chardev=monitor,mode=control"])
        .env("LD_DEBUG", "files,libs")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let pass = [monitor_end.as_fd()];
    let mut child = spawn(command, &Inherit::SameNumbers(&pass), Signal::SIGKILL)?;
    let errors = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((child, monitor, errors))
}

/// What `/proc` tells of a QEMU that runs.
fn look_at(process: u32) -> io::Result<QemuProgram> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let binary = fs::read_link(folder.join("exe"))?;
    let maps = fs::read_to_string(folder.join("maps"))?;
    let environment = fs::read(folder.join("environ"))?;
    let value = |name: &str| {
        let mut entries = environment.split(|byte| *byte == 0);
        let value =
            entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        String::from_utf8(value.to_vec()).ok()
    };
    let mapped = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let mut read: Vec<PathBuf> = mapped
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect();
    read.extend(interpreter(&binary));
    read.push(LOADER_CACHE.into());
    read.retain(|path| path.is_file());
    Ok(QemuProgram {
        binary,
        read,
        environment: passed(value),
    })
}

/// The loader that a program of 64 bits asks for by name.
fn interpreter(binary: &Path) -> Option<PathBuf> {
    const INTERPRETER: u32 = 3;
    let elf = fs::read(binary).ok()?;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(elf.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(whole)).ok()
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).find_map(|index| {
        let header = table.checked_add(index * size)?;
        let kind = u32::try_from(number(header, 4)?).ok()?;
        let at = number(header + 8, 8)?;
        let length = number(header + 32, 8)?;
        let name = elf.get(at..at.checked_add(length)?)?.strip_suffix(&[0])?;
        (kind == INTERPRETER).then(|| PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())))
    })
}

/// Those begin with the number of the process, a colon and a tab.
fn is_of_loader(line: &str) -> bool {
    let number = line
        .split_once(":\t")
        .map(|(number, _)| number.trim_start());
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The names by which libraries were looked for and are there.
fn named_by_loader(told: &str) -> Vec<PathBuf> {
    let lines = told.lines().filter(|line| is_of_loader(line));
    let names = lines.filter_map(|line| {
        let name = line
            .split_once("trying file=")
            .or_else(|| line.split_once("calling init: "))?;
        Some(PathBuf::from(name.1.trim()))
    });
    names
        .filter(|path| path.is_absolute() && path.is_file())
        .collect()
}

/// The folders in which it looks for firmware, and those in which the firmware is that links there lead to.
async fn firmware(binary: &Path) -> Vec<PathBuf> {
    let mut command = Command::new(binary);
    command
        .args(["-L", "help"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(child) = spawn(command, &Inherit::SameNumbers(&[]), Signal::SIGKILL) else {
        return Vec::new();
    };
    let listed = timeout(LIST_TIMEOUT, child.wait_with_output()).await;
    let listed = listed
        .ok()
        .and_then(Result::ok)
        .map(|output| output.stdout)
        .unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let folders = listed.lines().map(Path::new);
    let folders =
        folders.filter(|path| path.is_absolute() && path.is_dir() && path.parent().is_some());
    let mut found: Vec<PathBuf> = folders.map(Path::to_owned).collect();
    for folder in found.clone() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        let targets = links.filter_map(|entry| fs::canonicalize(entry.path()).ok());
        found.extend(targets.filter(|target| target.is_file()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_loader_are_told_from_qemus() {
        let own = std::env::current_exe().unwrap();
        let told = format!(
            "     22551:\tfind library=libz.so.1 [0]; searching\n     22551:\t  trying file=/nowhere/libz.so.1\n\
             \x20    22551:\t  trying file={0}\n     22551:\tcalling init: {0}\nqemu: it: does not work\n",
            own.display()
        );
        assert_eq!(named_by_loader(&told), [own.clone(), own]);
        let said: Vec<&str> = told.lines().filter(|line| !is_of_loader(line)).collect();
        assert_eq!(said, ["qemu: it: does not work"]);
    }

    #[test]
    fn a_program_names_its_loader() {
        let loader = interpreter(Path::new("/bin/sh")).unwrap();
        assert!(loader.is_file() && loader.is_absolute(), "{loader:?}");
        assert_eq!(interpreter(Path::new("/etc/passwd")), None);
    }
}
