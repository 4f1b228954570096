//! Where an engine keeps things and what it starts, from the environment or set by the embedder.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use pyro_api::values::Isolation;
use pyro_api::{Error, ErrorCode};
use pyro_wire::jail::JailChoice;
use pyro_wire::launch::AcceleratorChoice;

/// The VMM that the engine looks for.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// What runs a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// QEMU; the process backend only where QEMU is missing and the caller allowed it.
    #[default]
    Auto,
    Qemu,
    /// Host processes without isolation, for tests; the caller must still allow it.
    Process,
}

/// Whether VMs start from templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Templates {
    #[default]
    On,
    /// Every VM boots.
    Off,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Records and VM folders. `PYRO_STATE_DIR`, else `$XDG_STATE_HOME/pyro`, else
    /// `~/.local/state/pyro`.
    pub state_dir: PathBuf,
    /// Images. `PYRO_ENVIRONMENT_CACHE_DIR`, else `$XDG_CACHE_HOME/pyro/environments`, else
    /// `~/.cache/pyro/environments`.
    pub cache_dir: PathBuf,
    /// The `pyro` binary that becomes the shim. `PYRO_BIN`, else this program when it is `pyro`,
    /// else one beside it, else one on `PATH`.
    pub pyro: Option<PathBuf>,
    /// The guest agent. `PYRO_AGENT`, else `pyro-agent` beside the `pyro` binary.
    pub agent: Option<PathBuf>,
    /// `PYRO_BACKEND`: `auto`, `qemu` or `process`.
    pub backend: Backend,
    /// What keeps commands of one-shot VMs apart from this host where a call does not say.
    /// `PYRO_ISOLATION`: `auto`, `vm` or `gvisor`.
    pub isolation: Isolation,
    /// gVisor's program. `PYRO_RUNSC`, else the newest of those on `PATH` and in the cache, else Debian's,
    /// which is fetched.
    pub runsc: Option<PathBuf>,
    /// `PYRO_ACCELERATOR`: `auto`, `kvm` or `tcg`.
    pub accelerator: AcceleratorChoice,
    /// Which walls must stand around QEMU. `PYRO_JAIL`: `auto` or `strict`.
    pub jail: JailChoice,
    /// How long one boot may take, in milliseconds. `PYRO_BOOT_TIMEOUT_SECONDS`, else a minute.
    pub boot_deadline_ms: u64,
    /// The share of the host's memory that running VMs may be given. `PYRO_MEMORY_SHARE`, a
    /// number between 0 and 1, else 0.8.
    pub memory_share: f64,
    /// `PYRO_TEMPLATES`: `on` or `off`.
    pub templates: Templates,
    /// How much disk all templates may take together, in bytes. `PYRO_TEMPLATE_LIMIT_MIB`, else
    /// 4 GiB.
    pub template_limit_bytes: u64,
    /// How many VMs of the usual shape a process that lives on keeps waiting. `PYRO_STANDBY`, else
    /// none.
    pub standby: usize,
}

impl Config {
    /// Reads the environment. Touches no file but `/etc/passwd`, and that only without `HOME`.
    pub fn from_environment() -> Result<Self, Error> {
        let pyro = path_variable("PYRO_BIN").or_else(find_pyro);
        let agent = path_variable("PYRO_AGENT").or_else(|| beside(pyro.as_deref()?, "pyro-agent"));
        Ok(Self {
            state_dir: folder("PYRO_STATE_DIR", "XDG_STATE_HOME", ".local/state", "pyro")?,
            cache_dir: folder(
                "PYRO_ENVIRONMENT_CACHE_DIR",
                "XDG_CACHE_HOME",
                ".cache",
                "pyro/environments",
            )?,
            pyro,
            agent,
            backend: choice(
                "PYRO_BACKEND",
                &[
                    ("auto", Backend::Auto),
                    ("qemu", Backend::Qemu),
                    ("process", Backend::Process),
                ],
            )?,
            isolation: choice(
                "PYRO_ISOLATION",
                &[
                    ("auto", Isolation::Auto),
                    ("vm", Isolation::Vm),
                    ("gvisor", Isolation::Gvisor),
                ],
            )?,
            runsc: path_variable("PYRO_RUNSC"),
            accelerator: choice(
                "PYRO_ACCELERATOR",
                &[
                    ("auto", AcceleratorChoice::Auto),
                    ("kvm", AcceleratorChoice::Kvm),
                    ("tcg", AcceleratorChoice::Tcg),
                ],
            )?,
            jail: choice(
                "PYRO_JAIL",
                &[("auto", JailChoice::Auto), ("strict", JailChoice::Strict)],
            )?,
            boot_deadline_ms: number("PYRO_BOOT_TIMEOUT_SECONDS", 60.0, 1.0..=3600.0)
                .map(|seconds| (seconds * 1000.0) as u64)?,
            memory_share: number("PYRO_MEMORY_SHARE", 0.8, 0.01..=1.0)?,
            templates: choice(
                "PYRO_TEMPLATES",
                &[("on", Templates::On), ("off", Templates::Off)],
            )?,
            template_limit_bytes: number("PYRO_TEMPLATE_LIMIT_MIB", 4096.0, 0.0..=1048576.0)
                .map(|mib| (mib * 1048576.0) as u64)?,
            standby: number("PYRO_STANDBY", 0.0, 0.0..=64.0).map(|count| count as usize)?,
        })
    }

    pub(crate) fn pyro(&self) -> Result<&Path, Error> {
        self.pyro.as_deref().ok_or_else(|| {
            Error::new(ErrorCode::ToolMissing, "The `pyro` binary was not found")
                .because("looked in PYRO_BIN, beside this program, and on PATH")
                .hint("Set PYRO_BIN to the path of the `pyro` binary")
        })
    }

    pub(crate) fn agent(&self) -> Result<&Path, Error> {
        self.agent.as_deref().ok_or_else(|| {
            let beside = match self.pyro.as_deref().and_then(Path::parent) {
                Some(folder) => format!("looked for `pyro-agent` in {}", folder.display()),
                None => "the `pyro` binary to look beside was not found either".to_owned(),
            };
            Error::new(ErrorCode::ToolMissing, "The guest agent was not found")
                .because(format!("PYRO_AGENT is not set; {beside}"))
                .hint(
                    "Put `pyro-agent` beside `pyro` (`make build` does), or set PYRO_AGENT to its \
                     path",
                )
        })
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

fn folder(own: &str, base: &str, below_home: &str, leaf: &str) -> Result<PathBuf, Error> {
    if let Some(path) = path_variable(own) {
        // A relative path would mean another folder for the shim, which works elsewhere.
        return std::path::absolute(&path).map_err(|error| {
            Error::invalid(format!("{own} cannot be used: {}", path.display())).caused_by(&error)
        });
    }
    // The XDG specification says that relative values are to be ignored.
    if let Some(path) = path_variable(base).filter(|path| path.is_absolute()) {
        return Ok(path.join(leaf));
    }
    let home = path_variable("HOME")
        .filter(|home| home.is_absolute())
        .or_else(home_from_passwd)
        .ok_or_else(|| {
            Error::new(
                ErrorCode::HostIo,
                "No home folder was found to keep state in",
            )
            .because("HOME is not set, and /etc/passwd has none for this user")
            .hint(format!("Set HOME, or {own} to a folder of your choice"))
        })?;
    Ok(home.join(below_home).join(leaf))
}

/// Read by hand: a static binary has no name service to ask.
fn home_from_passwd() -> Option<PathBuf> {
    let uid = nix::unistd::getuid().to_string();
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str()))
            .then(|| fields.get(5).map(PathBuf::from))?
            .filter(|home| home.is_absolute())
    })
}

fn find_pyro() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    if program.file_name().is_some_and(|name| name == "pyro") {
        return Some(program);
    }
    beside(&program, "pyro").or_else(|| on_path("pyro"))
}

/// A program in the folder of another, or, for test binaries (`deps/`), in the folder above.
fn beside(program: &Path, name: &str) -> Option<PathBuf> {
    let folder = program.parent()?;
    [Some(folder), folder.parent()]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Where a program is on `PATH`, or in the administrator's folders that a user's `PATH` may lack.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| {
            nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
        })
}

fn choice<T: Copy>(name: &str, choices: &[(&str, T)]) -> Result<T, Error> {
    let Some(given) = variable(name) else {
        return Ok(choices[0].1);
    };
    choices
        .iter()
        .find(|(word, _)| given == *word)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            Error::invalid(format!(
                "{name} must be one of {}, not `{}`",
                words.join(", "),
                given.to_string_lossy()
            ))
        })
}

fn number(name: &str, default: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64, Error> {
    let Some(given) = variable(name) else {
        return Ok(default);
    };
    given
        .to_str()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            Error::invalid(format!(
                "{name} must be a number between {} and {}, not `{}`",
                range.start(),
                range.end(),
                given.to_string_lossy()
            ))
        })
}
