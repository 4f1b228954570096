//! Looks at an entry, and starts what it says.
//!
//! A project's file may come from anybody: of such an entry only `pyro` as the person has it is
//! started, without the variables that the file names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_api::operations::doctor::{Check, Outcome, report_checks};
use pyro_api::report::plain;
use pyro_api::{Error, Report, Text};
use serde::Serialize;

use crate::config_file::{self, ConfigFile, Scope};
use crate::connect::describe;
use crate::context::Context;
use crate::document::Document;
use crate::entry::{Entry, disabled};
use crate::entry_path::EntryPath;
use crate::error::HostError;
use crate::host::Host;
use crate::launch::{find_on_path, is_program, is_same};
use crate::options::Options;
use crate::probe::{Failure, probe};
use crate::save;

/// How long the server may take to answer. Hosts allow 5 to 60 seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// All that a host that was started from a desktop can be relied on to have.
const DESKTOP_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What is well and what is not.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    pub host: &'static str,
    #[serde(skip)]
    pub title: &'static str,
    pub name: String,
    pub config: PathBuf,
    pub scope: Option<&'static str>,
    /// Whether the host can use pyro.
    pub healthy: bool,
    pub entry: Option<Entry>,
    /// The tools that the server offers.
    pub tools: Vec<String>,
    /// Every check, in the order it was made; one that fails ends them.
    pub checks: Vec<Check>,
    #[serde(skip)]
    pub(crate) finding: Finding,
    #[serde(skip)]
    pub(crate) config_file: ConfigFile,
}

/// What keeps the host from using pyro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Nothing,
    /// The file cannot be understood.
    Broken,
    NoEntry,
    NotPyros,
    Disabled,
    NoCommand,
    DoesNotServe,
}

/// Examines the entry. Changes nothing.
pub fn doctor(
    host: &'static Host,
    options: &Options,
    context: &Context,
) -> Result<Diagnosis, HostError> {
    let name = options.name()?;
    let config_file = find(host, options, name, context)?;
    let mut found = Diagnosis {
        host: host.id,
        title: host.title,
        name: name.to_owned(),
        config: config_file.file.clone(),
        scope: config_file.scope.map(Scope::word),
        healthy: false,
        entry: None,
        tools: Vec::new(),
        checks: Vec::new(),
        finding: Finding::Nothing,
        config_file,
    };
    found.program(host, context);
    found.finding = found.examine(host, name, context);
    found.healthy = found.finding == Finding::Nothing;
    Ok(found)
}

/// Where nothing was said, the person's entry for this project comes first, then one of the project,
/// then one for all projects, as in the hosts.
fn find(
    host: &'static Host,
    options: &Options,
    name: &str,
    context: &Context,
) -> Result<ConfigFile, HostError> {
    if options.config.is_none() && options.scope.is_none() && !host.project.is_empty() {
        let project = config_file::of_scope(host, Scope::Project, context)?;
        let own = match host.projects_key {
            Some(_) => Some(config_file::of_scope(host, Scope::User, context)?),
            None => None,
        };
        let own = own.iter().flat_map(|config_file| {
            let folders = project_folders(&context.folder);
            folders.map(|folder| config_file.of_project(folder))
        });
        for config_file in own.chain([project]) {
            let there = save::read(&config_file.file).ok().flatten();
            let document = there.and_then(|bytes| Document::parse(&bytes, host.format).ok());
            let servers = config_file.servers(host);
            let entry_path = EntryPath::of(&servers, name);
            let fields = document.and_then(|document| document.fields(entry_path).ok());
            if fields.flatten().is_some() {
                return Ok(config_file);
            }
        }
    }
    options.config_file(host, context)
}

/// What a host may call the project of a folder: the folder, or the repository around it.
fn project_folders(folder: &Path) -> impl Iterator<Item = String> {
    let mut context = folder.ancestors().skip(1);
    let repository = context.find(|folder| folder.join(".git").exists());
    let folders = [Some(folder), repository].into_iter().flatten();
    let names: Vec<String> = folders
        .filter_map(|folder| folder.to_str().map(str::to_owned))
        .collect();
    names.into_iter()
}

impl Diagnosis {
    /// Whether the host is there at all; it may well be installed later, or elsewhere.
    fn program(&mut self, host: &'static Host, context: &Context) {
        let Some(program) = host.program else { return };
        let path = context.variable("PATH").map(Path::new);
        match path.and_then(|path| find_on_path(program, path)) {
            Some(found) => self.pass("host", format!("{} is {}", host.title, found.display())),
            None => self.checks.push(Check {
                name: "host".to_owned(),
                outcome: Outcome::Warning,
                detail: format!("`{program}` is not on PATH"),
                fix: Some(format!("Install {}, or run this where it is", host.title)),
            }),
        }
    }

    fn examine(&mut self, host: &'static Host, name: &str, context: &Context) -> Finding {
        let connect = match (self.scope, &self.config) {
            (Some("project"), _) => format!("pyro host connect {} --scope project", host.id),
            (Some(_), _) => format!("pyro host connect {}", host.id),
            (None, file) => format!(
                "pyro host connect {} --config '{}'",
                host.id,
                file.display()
            ),
        };
        let repair = connect.replacen("connect", "repair", 1);
        let bytes = match save::read(&self.config) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let detail = format!("{} does not exist", self.config.display());
                return self.fail("config", detail, connect, Finding::NoEntry);
            }
            Err(error) => return self.fail_with(error, &repair, Finding::Broken),
        };
        let document = Document::parse(&bytes, host.format);
        let config_file = self.config_file.clone();
        let servers = config_file.servers(host);
        let entry_path = EntryPath::of(&servers, name);
        let elsewhere = |document: &Document| {
            let projects = document.projects(host).into_iter();
            let projects = projects.filter(|project| {
                let config_file = config_file.of_project(project.clone());
                let servers = config_file.servers(host);
                let fields = document.fields(EntryPath::of(&servers, name));
                fields.is_ok_and(|fields| fields.is_some())
            });
            projects.collect::<Vec<_>>()
        };
        let found =
            document.and_then(|document| Ok((document.fields(entry_path)?, elsewhere(&document))));
        let (fields, elsewhere) = match found.map_err(|fault| fault.of(&self.config, host.format)) {
            Ok(fields) => fields,
            Err(error) => return self.fail_with(error, &repair, Finding::Broken),
        };
        self.pass("config", format!("{} can be read", self.config.display()));
        let Some(fields) = fields else {
            let mut detail = format!("there is no entry called `{name}`");
            if !elsewhere.is_empty() {
                let projects = plain(&elsewhere.join(", ")).into_owned();
                detail.push_str(&format!(", only for the projects {projects}"));
            }
            return self.fail("entry", detail, connect, Finding::NoEntry);
        };
        let entry = Entry::read(&fields, host.shape);
        let Some(entry) = entry.clone().filter(Entry::is_pyro) else {
            let starts = describe(Some(&fields), entry.as_ref());
            return self.fail(
                "entry",
                format!("`{name}` is not pyro's: it starts `{starts}`"),
                format!("{connect} --name ANOTHER, or {connect} --replace"),
                Finding::NotPyros,
            );
        };
        self.entry = Some(entry.clone());
        if let Some((key, _)) = disabled(&fields) {
            let detail = format!("`{name}` is switched off by `{key}`");
            return self.fail("entry", detail, repair, Finding::Disabled);
        }
        let of = match &self.config_file.project {
            Some(project) => format!(", for the project {}", plain(project)),
            None => String::new(),
        };
        self.pass("entry", format!("`{name}` starts `{}`{of}", entry.line()));
        let environment = environment(host, context);
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let path = path
            .map(|(_, path)| PathBuf::from(path))
            .unwrap_or_default();
        let command = match entry.command.contains('/') {
            true => Some(context.folder.join(&entry.command)).filter(|file| is_program(file)),
            false => find_on_path(&entry.command, &path),
        };
        let Some(command) = command else {
            let detail = match entry.command.contains('/') {
                true => format!("{} is not an executable file", plain(&entry.command)),
                false => format!("`{}` is not on {}", plain(&entry.command), path.display()),
            };
            return self.fail("command", detail, repair, Finding::NoCommand);
        };
        let of_project = self.config_file.scope == Some(Scope::Project);
        if of_project && entry.command.contains('/') && !is_same(&command, &context.pyro) {
            let detail = format!(
                "a file of the project names {}, so pyro did not start it",
                plain(&command.to_string_lossy())
            );
            return self.fail("command", detail, repair, Finding::NoCommand);
        }
        self.pass("command", format!("{} can be started", command.display()));
        let whole = Entry {
            command: command.to_string_lossy().into_owned(),
            // Variables can make pyro start other programs, too.
            env: if of_project {
                BTreeMap::new()
            } else {
                entry.env
            },
            args: entry.args,
        };
        let (name, why) = match probe(&whole, &environment, PROBE_TIMEOUT) {
            Ok(info) => {
                self.pass("initialize", format!("it is {}", info.server));
                self.pass(
                    "tools",
                    format!("{}: {}", info.tools.len(), info.tools.join(", ")),
                );
                self.tools = info.tools;
                return Finding::Nothing;
            }
            Err(Failure::NotStarted(why)) => ("command", why),
            Err(Failure::NotInitialized(why)) => ("initialize", why),
            Err(Failure::NoTools(why)) => ("tools", why),
        };
        self.fail(name, why, repair, Finding::DoesNotServe)
    }

    fn pass(&mut self, name: &str, detail: String) {
        self.checks.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Ok,
            detail,
            fix: None,
        });
    }

    fn fail(&mut self, name: &str, detail: String, fix: String, finding: Finding) -> Finding {
        self.checks.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Failed,
            detail,
            fix: Some(fix),
        });
        finding
    }

    fn fail_with(&mut self, error: HostError, repair: &str, finding: Finding) -> Finding {
        let broken = matches!(error, HostError::Broken { .. });
        let error = Error::from(error);
        let mut detail = error.error;
        for cause in error.causes {
            detail.push_str(&format!(": {cause}"));
        }
        let fix = match broken {
            true => format!("correct it in an editor, or {repair} --move-aside"),
            false => error.hint.unwrap_or_default(),
        };
        self.fail("config", detail, fix, finding)
    }
}

/// What the host will start the server with, as far as that can be known.
fn environment(host: &'static Host, context: &Context) -> Vec<(OsString, OsString)> {
    const KEPT: [&str; 6] = ["HOME", "PATH", "LANG", "LOGNAME", "USER", "TMPDIR"];
    let kept = |(name, _): &&(OsString, OsString)| KEPT.iter().any(|kept| name == kept);
    let bare = |(name, value): &(OsString, OsString)| match name == "PATH" && !host.from_terminal {
        true => (name.clone(), DESKTOP_PATH.into()),
        false => (name.clone(), value.clone()),
    };
    context.variables.iter().filter(kept).map(bare).collect()
}

impl Report for Diagnosis {
    fn report(&self, text: &mut Text) {
        text.field("Host", self.title);
        text.field("Config", self.config.display().to_string());
        text.field("Pyro", if self.healthy { "PASS" } else { "FAIL" });
        report_checks(&self.checks, text);
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.healthy)
    }
}
