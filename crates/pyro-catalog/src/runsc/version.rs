//! What a file says its version is: asked once, then remembered by the file's stamp.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::release::{OLDEST, Release};
use crate::child::{self, Ended};
use crate::elf::{self, Elf};
use crate::files::{self, Stamp};
use crate::{Catalog, CatalogError, ProgressMonitor, digest};

/// `runsc --version` takes 25 ms; this is for a host that does everything else meanwhile.
const DEADLINE: Duration = Duration::from_secs(20);
/// A file that is being replaced cannot be started for an instant.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(25);
/// Of what a program printed, no more than this is kept or shown.
const SHOWN: usize = 120;
const SUFFIX: &str = "json";

/// The version of a file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// As printed, like `release-20240729.0`.
    pub(crate) text: String,
    pub(crate) release: Release,
}

/// A version, or why the file cannot be used.
pub(crate) type Verdict = Result<Version, String>;

/// What a file printed; the name of its own file is the hash of `path`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Answer {
    path: PathBuf,
    stamp: Stamp,
    line: String,
}

impl Catalog {
    /// Judges a file, with its remembered version if it has one.
    pub(crate) fn runsc_version(
        &self,
        path: &Path,
        remember: bool,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Verdict, CatalogError> {
        let stamp = match Stamp::of(path) {
            Ok(stamp) => stamp,
            Err(error) => return Ok(Err(refusal(&error))),
        };
        let memory = self.runsc_answer_path(path);
        if let Some(known) = read(&memory).filter(|a| a.path == path && a.stamp == stamp) {
            return Ok(judge(&known.line));
        }
        let line = match ask(path, monitor)? {
            Ok(line) => line,
            Err(reason) => return Ok(Err(reason)),
        };
        // Not remembered when it changed under our hands, nor where nothing can be written:
        // then it is asked each time.
        if remember && Stamp::of(path).ok() == Some(stamp) {
            let answer = Answer {
                path: path.to_owned(),
                stamp,
                line: line.clone(),
            };
            let json = serde_json::to_vec(&answer).unwrap_or_default();
            let _ = fs::create_dir_all(self.runsc_answers_dir())
                .and_then(|()| files::write_whole(&memory, &json));
        }
        Ok(judge(&line))
    }

    fn runsc_answer_path(&self, path: &Path) -> PathBuf {
        let hash = digest::of_bytes(path.as_os_str().as_bytes());
        self.runsc_answers_dir()
            .join(&hash[..32])
            .with_extension(SUFFIX)
    }
}

/// The answers of files that are no longer there or no longer the same.
pub(crate) fn outdated(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let gone = |path: &PathBuf| match path.extension() {
        Some(extension) if extension == SUFFIX => {
            read(path).is_none_or(|answer| Stamp::of(&answer.path).ok() != Some(answer.stamp))
        }
        _ => files::is_abandoned(path),
    };
    entries.map(|entry| entry.path()).filter(gone).collect()
}

fn read(path: &Path) -> Option<Answer> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Runs a file with `--version`. The inner error says why that cannot be done, or did not
/// work: such an answer may be another one next time.
fn ask(path: &Path, monitor: &dyn ProgressMonitor) -> Result<Result<String, String>, CatalogError> {
    if let Err(reason) = may_be_started(path) {
        return Ok(Err(reason));
    }
    let mut lines: Vec<String> = Vec::new();
    let mut tries = 1;
    let ended = loop {
        lines.clear();
        let mut command = child::command(path);
        command.arg("--version");
        let ended = child::run(command, DEADLINE, monitor, &mut |line| {
            if lines.len() < 10 {
                lines.push(line.chars().take(SHOWN).collect());
            }
        });
        match ended {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            ended => break ended,
        }
    };
    let own = lines.iter().position(|line| line.starts_with(PREFIX));
    let line = match lines.is_empty() {
        true => None,
        false => Some(lines.swap_remove(own.unwrap_or(0))),
    };
    Ok(match (ended, line) {
        // The file itself was there.
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            Err("its interpreter or loader is missing".to_owned())
        }
        (Err(error), _) => Err(refusal(&error)),
        (Ok(Ended::Cancelled), _) => return Err(CatalogError::Cancelled),
        (Ok(Ended::TimedOut), _) => Err(format!(
            "`--version` did not end within {} s",
            DEADLINE.as_secs()
        )),
        (Ok(Ended::Exited(status)), Some(line)) if status.success() => Ok(line),
        (Ok(Ended::Exited(status)), Some(line)) => {
            Err(format!("`--version` ended with {status}: {line}"))
        }
        (Ok(Ended::Exited(status)), None) => {
            Err(format!("`--version` ended with {status} and said nothing"))
        }
    })
}

/// Says beforehand what a failed start would say badly or, where the host emulates other
/// architectures, not at all.
fn may_be_started(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| refusal(&error))?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("it is not executable".to_owned());
    }
    let mut header = Vec::new();
    // What may be run need not be readable; then the start tells.
    if let Ok(file) = File::open(path) {
        file.take(elf::HEADER)
            .read_to_end(&mut header)
            .map_err(|error| refusal(&error))?;
        if header.is_empty() {
            return Err("it is empty".to_owned());
        }
    }
    // The C library hands what the kernel refuses to a shell, which would do whatever it reads.
    if !header.is_empty() && !elf::is_elf(&header) && !header.starts_with(b"#!") {
        return Err("it is neither a program nor a script".to_owned());
    }
    let foreign = elf::is_elf(&header)
        && Elf::parse(&header).and_then(|elf| elf.machine()) != Some(elf::MACHINE);
    if foreign {
        return Err(format!(
            "it is a program for another architecture than {}",
            std::env::consts::ARCH
        ));
    }
    Ok(())
}

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("it cannot be started: {error}"),
    }
}

const PREFIX: &str = "runsc version ";

fn judge(line: &str) -> Verdict {
    let Some(text) = line.strip_prefix(PREFIX) else {
        return Err(format!("it is not runsc: `--version` says `{line}`"));
    };
    match Release::of(text) {
        None => Err(format!(
            "its version `{text}` has no date, so it may be too old; it must be a release of \
             {OLDEST} or later"
        )),
        Some(release) if release < OLDEST => Err(format!(
            "its release of {release} has no systrap platform; it must be of {OLDEST} or later"
        )),
        Some(release) => Ok(Version {
            text: text.to_owned(),
            release,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoMonitor;
    use crate::testing::{CancelAfter, Rig, program, rig, script};

    fn verdict(rig: &Rig, path: &Path) -> Verdict {
        rig.catalog.runsc_version(path, true, &NoMonitor).unwrap()
    }

    /// A `runsc` that writes down each time it is asked.
    fn counting(rig: &Rig, version: &str) -> (PathBuf, impl Fn() -> usize + use<>) {
        let path = rig.folder.path().join("runsc");
        let count = rig.folder.path().join("asked");
        let body = format!("echo >> {}; echo runsc version {version}", count.display());
        script(&path, &body);
        let asked = move || {
            fs::read_to_string(&count)
                .unwrap_or_default()
                .lines()
                .count()
        };
        (path, asked)
    }

    #[test]
    fn a_file_is_asked_once_until_it_changes() {
        let rig = rig();
        let (path, asked) = counting(&rig, "release-20240729.0");
        for _ in 0..3 {
            assert_eq!(verdict(&rig, &path).unwrap().text, "release-20240729.0");
        }
        assert_eq!(asked(), 1);

        let _ = counting(&rig, "release-20260810.0");
        assert_eq!(verdict(&rig, &path).unwrap().text, "release-20260810.0");
        verdict(&rig, &path).unwrap();
        assert_eq!(asked(), 2);
    }

    #[test]
    fn what_only_looks_writes_nothing() {
        let rig = rig();
        let (path, asked) = counting(&rig, "release-20240729.0");
        for _ in 0..2 {
            rig.catalog
                .runsc_version(&path, false, &NoMonitor)
                .unwrap()
                .unwrap();
        }
        assert_eq!(asked(), 2);
        assert!(!rig.catalog.cache_dir().exists());
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_an_answer_each_time_and_nothing_else() {
        let rig = rig();
        fs::write(rig.catalog.cache_dir(), "").unwrap();
        let (path, asked) = counting(&rig, "release-20240729.0");
        verdict(&rig, &path).unwrap();
        verdict(&rig, &path).unwrap();
        assert_eq!(asked(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let rig = rig();
        let path = rig.folder.path().join("runsc");
        let refused = || verdict(&rig, &path).unwrap_err();
        assert_eq!(refused(), "there is no such file");

        fs::write(&path, "").unwrap();
        assert_eq!(refused(), "it is not executable");

        let mut foreign = program(false);
        foreign[18] = 0xb7; // AArch64
        for bytes in [&foreign[..], b"\x7fELF\x01\x01 of 32 bits"] {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(refused().contains("another architecture"), "{}", refused());
        }

        let never = rig.folder.path().join("never");
        fs::write(&path, format!("touch {}", never.display())).unwrap();
        assert_eq!(refused(), "it is neither a program nor a script");
        assert!(!never.exists());
        fs::write(&path, "").unwrap();
        assert_eq!(refused(), "it is empty");
        fs::write(&path, "#!/no/such/interpreter").unwrap();
        assert_eq!(refused(), "its interpreter or loader is missing");

        for (body, reason) in [
            (
                "echo runsc version 0.0~20221219.0",
                "2022-12-19 has no systrap",
            ),
            ("echo runsc version VERSION_MISSING", "has no date"),
            ("echo true 9.1; echo by somebody", "says `true 9.1`"),
            ("echo bad flag >&2; exit 3", "exit status: 3: bad flag"),
            ("exit 0", "said nothing"),
        ] {
            script(&path, body);
            let refused = refused();
            assert!(refused.contains(reason), "{body}: {refused}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(refused(), "it is not a file");
    }

    #[test]
    fn only_what_answered_well_is_remembered() {
        let rig = rig();
        let path = rig.folder.path().join("runsc");
        let flag = rig.folder.path().join("works");
        script(
            &path,
            &format!(
                "test -e {} && echo runsc version 0.0~20240729.0",
                flag.display()
            ),
        );
        verdict(&rig, &path).unwrap_err();
        fs::write(&flag, "").unwrap();
        verdict(&rig, &path).unwrap();
    }

    #[test]
    fn a_question_can_be_cancelled() {
        let rig = rig();
        let path = rig.folder.path().join("runsc");
        script(&path, "exec sleep 30");
        let error = rig
            .catalog
            .runsc_version(&path, true, &CancelAfter::calls(1))
            .unwrap_err();
        assert!(matches!(error, CatalogError::Cancelled), "{error}");
    }

    #[test]
    fn an_answer_goes_with_its_file() {
        let rig = rig();
        let (path, _) = counting(&rig, "release-20240729.0");
        verdict(&rig, &path).unwrap();
        let folder = rig.catalog.runsc_answers_dir();
        assert!(outdated(&folder).is_empty());
        fs::write(folder.join("broken.json"), "").unwrap();
        fs::write(folder.join(".tmp-1-0"), "").unwrap();
        assert_eq!(outdated(&folder), [folder.join("broken.json")]);
        fs::remove_file(path).unwrap();
        assert_eq!(outdated(&folder).len(), 2);
    }
}
