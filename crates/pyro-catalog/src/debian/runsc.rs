//! Fetches Debian's package of `runsc`, by an apt that has a state and a configuration of its own.
//!
//! Nothing of the host's apt is read but its keyring, its mirror and its proxy, and nothing is
//! written outside the folder that is given, so this needs no root. apt verifies the signature
//! of the archive's index with Debian's keyring, and the package with the index.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::mirror::Mirror;
use crate::child::{self, Ended};
use crate::monitor::report;
use crate::runsc::{Fetched, RunscSource};
use crate::{CatalogError, NoMonitor, Phase, ProgressMonitor, tools};

const PACKAGE: &str = "runsc";
/// Of the hosts that the catalog's images run on.
const ARCHITECTURE: &str = "amd64";
/// The first that has the package. Both carry the same upstream release; the lists of the
/// first are 30 times smaller, but mirrors drop the backports of a Debian that is past its time.
const SUITES: [&str; 2] = ["bookworm-backports", "trixie"];
/// For all steps together. A package of 7 MB takes two minutes at the speed of a modem.
const DEADLINE: Duration = Duration::from_secs(10 * 60);
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
const TAIL: usize = 40;

/// What apt says of a mirror that has not this suite, or not this package in it.
const NOT_THERE: [&str; 6] = [
    "does not have a Release file",
    "no longer has a Release file",
    "404 ",
    "is expired",
    "Unable to locate package",
    "has no installation candidate",
];

const READ_LISTS: Step = Step("reading package lists", Phase::Downloading, 0.05);
const DOWNLOAD: Step = Step("downloading the package", Phase::Downloading, 0.3);
const UNPACK: Step = Step("unpacking the package", Phase::Installing, 0.7);

/// A step's name, and how far the fetch is when it begins.
#[derive(Clone, Copy)]
struct Step(&'static str, Phase, f32);

/// The programs by name or path; tests bring their own.
#[derive(Debug)]
pub(crate) struct DebianRunsc {
    apt_get: PathBuf,
    dpkg_deb: PathBuf,
}

impl Default for DebianRunsc {
    fn default() -> Self {
        Self {
            apt_get: "apt-get".into(),
            dpkg_deb: "dpkg-deb".into(),
        }
    }
}

impl RunscSource for DebianRunsc {
    fn on_path(&self) -> Vec<PathBuf> {
        let folders = child::search_path().into_iter();
        folders.map(|folder| folder.join(PACKAGE)).collect()
    }

    fn prepare(&self) -> Result<(), CatalogError> {
        tools::require_for_fetch()?;
        Mirror::configured().map(drop)
    }

    fn fetch(&self, folder: &Path, monitor: &dyn ProgressMonitor) -> Result<Fetched, CatalogError> {
        let keyring = tools::require_for_fetch()?;
        let mirror = Mirror::configured()?;
        let suites = SUITES.map(|suite| Suite {
            source: mirror.archive_source(suite, &keyring),
            label: mirror.label(suite),
        });
        self.fetch_from(&suites, mirror.host(), host_proxy(), folder, monitor)
    }
}

/// A place where the package may be.
struct Suite {
    /// In apt's one-line form.
    source: String,
    label: String,
}

impl DebianRunsc {
    fn fetch_from(
        &self,
        suites: &[Suite],
        host: &str,
        proxy: Option<String>,
        folder: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Fetched, CatalogError> {
        let until = Instant::now() + DEADLINE;
        let mut missing = None;
        for (number, suite) in suites.iter().enumerate() {
            let fetch = Fetch {
                programs: self,
                apt: Apt::create(&folder.join(format!("apt-{number}")), suite, &proxy)?,
                host,
                until,
                monitor,
            };
            let error = match fetch.run(&folder.join(format!("package-{number}")), suite) {
                Err(error) if is_not_there(&error) => error,
                settled => return settled,
            };
            // The first one says best what is wrong with a mirror that has nothing.
            missing.get_or_insert(error);
        }
        Err(missing.unwrap_or_else(|| failed(READ_LISTS, Vec::new())))
    }
}

fn is_not_there(error: &CatalogError) -> bool {
    let CatalogError::FetchFailed { log_tail, .. } = error else {
        return false;
    };
    let says_so = |line: &String| NOT_THERE.iter().any(|words| line.contains(words));
    log_tail.iter().any(says_so)
}

fn failed(step: Step, log_tail: Vec<String>) -> CatalogError {
    CatalogError::FetchFailed {
        package: PACKAGE,
        step: step.0.to_owned(),
        log_tail,
    }
}

/// A folder that apt takes for the whole of its world.
struct Apt {
    configuration: PathBuf,
    temporary: PathBuf,
}

impl Apt {
    fn create(folder: &Path, suite: &Suite, proxy: &Option<String>) -> Result<Self, CatalogError> {
        for name in [
            "",
            "etc",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/sources.list.d",
            "lists",
            "lists/partial",
            "cache",
            "cache/archives",
            "cache/archives/partial",
            "tmp",
        ] {
            let path = folder.join(name);
            fs::create_dir(&path).map_err(CatalogError::writing("create", &path))?;
        }
        // An address may have a password in it.
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(CatalogError::writing("protect", folder))?;
        let apt = Self {
            configuration: folder.join("apt.conf"),
            temporary: folder.join("tmp"),
        };
        for (path, text) in [
            (
                &folder.join("etc/sources.list"),
                format!("{}\n", suite.source),
            ),
            (&folder.join("status"), String::new()),
            (&apt.configuration, configuration(folder, proxy.as_deref())),
        ] {
            fs::write(path, text).map_err(CatalogError::writing("write", path))?;
        }
        Ok(apt)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = child::command(program);
        // Read before the host's own, which it thereby keeps from being read at all.
        command
            .env("APT_CONFIG", &self.configuration)
            .env("TMPDIR", &self.temporary);
        command
    }
}

/// Everything is said here that would weaken the checks or reach out of the folder.
fn configuration(folder: &Path, proxy: Option<&str>) -> String {
    let at = |name: &str| quoted(folder.join(name).as_os_str().as_bytes());
    let mut text = format!(
        "Dir {root};\n\
         Dir::Etc {etc};\n\
         Dir::State {root};\n\
         Dir::State::Lists {lists};\n\
         Dir::State::Status {status};\n\
         Dir::Cache {cache};\n\
         Dir::Cache::PkgCache \"\";\n\
         Dir::Cache::SrcPkgCache \"\";\n\
         APT::Architecture \"{ARCHITECTURE}\";\n\
         APT::Architectures \"{ARCHITECTURE}\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         APT::Get::AllowUnauthenticated \"false\";\n\
         Acquire::AllowInsecureRepositories \"false\";\n\
         Acquire::AllowWeakRepositories \"false\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::GzipIndexes \"true\";\n\
         Acquire::Retries \"2\";\n\
         Acquire::http::Timeout \"30\";\n\
         Acquire::https::Timeout \"30\";\n",
        root = at("./"),
        etc = at("etc/"),
        lists = at("lists/"),
        status = at("status"),
        cache = at("cache/"),
    );
    if let Some(proxy) = proxy {
        let _ = writeln!(text, "Acquire::http::Proxy {};", quoted(proxy.as_bytes()));
    }
    text
}

/// A word of apt's configuration. In quotes there is no way to write a quote.
fn quoted(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~+:@".contains(&byte);
    let mut word = String::new();
    for (at, &byte) in bytes.iter().enumerate() {
        // Two slashes would begin a comment.
        if plain(byte) && !(byte == b'/' && bytes[..at].ends_with(b"/")) {
            word.push(byte.into());
        } else {
            let _ = write!(word, "%{byte:02x}");
        }
    }
    word
}

/// The host's apt may reach its mirror through a proxy only. The variable is handed on as it is.
fn host_proxy() -> Option<String> {
    if std::env::var_os("http_proxy").is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let mut command = child::command("apt-config");
    command.args([
        "dump",
        "--no-empty",
        "--format",
        "%v%n",
        "Acquire::http::Proxy",
    ]);
    let mut first = None;
    let ended = child::run(command, PROXY_TIMEOUT, &NoMonitor, &mut |line| {
        first.get_or_insert(line.to_owned());
    });
    let told = matches!(ended, Ok(Ended::Exited(status)) if status.success());
    first.filter(|address| told && address.starts_with("http"))
}

/// One fetch from one suite.
struct Fetch<'a> {
    programs: &'a DebianRunsc,
    apt: Apt,
    host: &'a str,
    until: Instant,
    monitor: &'a dyn ProgressMonitor,
}

impl Fetch<'_> {
    fn run(&self, folder: &Path, suite: &Suite) -> Result<Fetched, CatalogError> {
        fs::create_dir(folder).map_err(CatalogError::writing("create", folder))?;
        let Self { programs, apt, .. } = self;
        let mut update = apt.command(&programs.apt_get);
        update.args(["-q", "update"]);
        self.step(READ_LISTS, update)?;

        let mut download = apt.command(&programs.apt_get);
        download
            .args(["-q", "download", PACKAGE])
            .current_dir(folder);
        let log = self.step(DOWNLOAD, download)?;
        let file = only_package(folder).ok_or_else(|| failed(DOWNLOAD, log))?;

        let tree = folder.join("tree");
        let mut unpack = apt.command(&programs.dpkg_deb);
        unpack.arg("-x").arg(&file).arg(&tree);
        let log = self.step(UNPACK, unpack)?;
        let fetched = Fetched {
            program: tree.join("usr/bin/runsc"),
            copyright: tree.join("usr/share/doc/runsc/copyright"),
            package: package_version(&file),
            source: suite.label.clone(),
        };
        for path in [&fetched.program, &fetched.copyright] {
            let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
            if !is_file {
                let inside = path.strip_prefix(&tree).unwrap_or(path).display();
                let line = format!("E: the package has no file {inside}");
                return Err(failed(UNPACK, [log, vec![line]].concat()));
            }
        }
        Ok(fetched)
    }

    /// Runs one tool to its end and returns what it printed last.
    fn step(&self, step: Step, command: Command) -> Result<Vec<String>, CatalogError> {
        let Step(name, phase, fraction) = step;
        let message = match phase {
            Phase::Downloading => format!("{PACKAGE}: {name} from {}", self.host),
            _ => format!("{PACKAGE}: {name}"),
        };
        report(self.monitor, phase, fraction, message);
        let program = command.get_program().to_owned();
        let mut lines = Vec::new();
        let left = self.until.saturating_duration_since(Instant::now());
        let ended = child::run(command, left, self.monitor, &mut |line| {
            if lines.len() == TAIL {
                lines.remove(0);
            }
            lines.push(line.to_owned());
        })
        .map_err(CatalogError::reading("run", Path::new(&program)))?;
        match ended {
            Ended::Exited(status) if status.success() => Ok(lines),
            Ended::Exited(_) => Err(failed(step, lines)),
            Ended::Cancelled => Err(CatalogError::Cancelled),
            Ended::TimedOut => Err(CatalogError::FetchTimedOut {
                package: PACKAGE,
                step: name.to_owned(),
                seconds: DEADLINE.as_secs(),
                log_tail: lines,
            }),
        }
    }
}

fn only_package(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    files.next().filter(|_| files.next().is_none())
}

/// From a name such as `runsc_0.0~20240729.0-4_amd64.deb`. A colon is written `%3a` there.
fn package_version(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let version = name.split('_').nth(1).unwrap_or_default();
    version.replace("%3a", ":")
}

#[cfg(test)]
mod tests;
