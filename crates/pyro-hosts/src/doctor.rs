//! Looks at an entry, and starts what it says.
//!
//! A project's file may come from anybody: of such an entry only `pyro` as the person has it is
//! started, without the variables that the file names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_api::operations::doctor::{Check, Outcome};
use pyro_api::report::plain;
use pyro_api::{Error, Report, Text};
use serde::Serialize;

use crate::connect::describe;
use crate::document::{Document, Spot};
use crate::entry::{Entry, switched_off};
use crate::error::HostError;
use crate::host::Host;
use crate::launch::{is_program, is_same, on_path};
use crate::place::{self, Place, Scope, Surroundings};
use crate::probe::{Failure, probe};
use crate::save;
use crate::wish::Wish;

/// How long the server may take to answer. Hosts allow 5 to 60 seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that a host that was started from a desktop can be relied on to have.
const BARE_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What is well and what is not.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
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
    pub(crate) place: Place,
}

/// What keeps the host from using pyro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Nothing,
    /// The file cannot be understood.
    Broken,
    NoEntry,
    NotPyros,
    SwitchedOff,
    NoCommand,
    DoesNotServe,
}

/// Examines the entry. Changes nothing.
pub fn doctor(
    host: &'static Host,
    wish: &Wish,
    around: &Surroundings,
) -> Result<Examination, HostError> {
    let name = wish.name()?;
    let place = find(host, wish, name, around)?;
    let mut found = Examination {
        host: host.id,
        title: host.title,
        name: name.to_owned(),
        config: place.file.clone(),
        scope: place.scope.map(Scope::word),
        healthy: false,
        entry: None,
        tools: Vec::new(),
        checks: Vec::new(),
        finding: Finding::Nothing,
        place,
    };
    found.program(host, around);
    found.finding = found.examine(host, name, around);
    found.healthy = found.finding == Finding::Nothing;
    Ok(found)
}

/// Where nothing was said, the person's entry for this project comes first, then one of the project,
/// then one for all projects, as in the hosts.
fn find(
    host: &'static Host,
    wish: &Wish,
    name: &str,
    around: &Surroundings,
) -> Result<Place, HostError> {
    if wish.config.is_none() && wish.scope.is_none() && !host.project.is_empty() {
        let project = place::of_scope(host, Scope::Project, around)?;
        let own = match host.by_folder {
            Some(_) => Some(place::of_scope(host, Scope::User, around)?),
            None => None,
        };
        let own = own.iter().flat_map(|place| {
            let folders = project_folders(&around.folder);
            folders.map(|folder| place.of_project(folder))
        });
        for place in own.chain([project]) {
            let there = save::read(&place.file).ok().flatten();
            let document = there.and_then(|bytes| Document::parse(&bytes, host.format).ok());
            let servers = place.servers(host);
            let spot = Spot::of(&servers, name);
            let fields = document.and_then(|document| document.fields(spot).ok());
            if fields.flatten().is_some() {
                return Ok(place);
            }
        }
    }
    wish.place(host, around)
}

/// What a host may call the project of a folder: the folder, or the repository around it.
fn project_folders(folder: &Path) -> impl Iterator<Item = String> {
    let mut around = folder.ancestors().skip(1);
    let repository = around.find(|folder| folder.join(".git").exists());
    let folders = [Some(folder), repository].into_iter().flatten();
    let names: Vec<String> = folders
        .filter_map(|folder| folder.to_str().map(str::to_owned))
        .collect();
    names.into_iter()
}

impl Examination {
    /// Whether the host is there at all; it may well be installed later, or elsewhere.
    fn program(&mut self, host: &'static Host, around: &Surroundings) {
        let Some(program) = host.program else { return };
        let path = around.variable("PATH").map(Path::new);
        match path.and_then(|path| on_path(program, path)) {
            Some(found) => self.well("host", format!("{} is {}", host.title, found.display())),
            None => self.checks.push(Check {
                name: "host".to_owned(),
                outcome: Outcome::Warning,
                detail: format!("`{program}` is not on PATH"),
                fix: Some(format!("Install {}, or run this where it is", host.title)),
            }),
        }
    }

    fn examine(&mut self, host: &'static Host, name: &str, around: &Surroundings) -> Finding {
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
                return self.ill("config", detail, connect, Finding::NoEntry);
            }
            Err(error) => return self.failed(error, &repair, Finding::Broken),
        };
        let document = Document::parse(&bytes, host.format);
        let place = self.place.clone();
        let servers = place.servers(host);
        let spot = Spot::of(&servers, name);
        let elsewhere = |document: &Document| {
            let projects = document.projects(host).into_iter();
            let projects = projects.filter(|project| {
                let place = place.of_project(project.clone());
                let servers = place.servers(host);
                let fields = document.fields(Spot::of(&servers, name));
                fields.is_ok_and(|fields| fields.is_some())
            });
            projects.collect::<Vec<_>>()
        };
        let found =
            document.and_then(|document| Ok((document.fields(spot)?, elsewhere(&document))));
        let (fields, elsewhere) = match found.map_err(|fault| fault.of(&self.config, host.format)) {
            Ok(fields) => fields,
            Err(error) => return self.failed(error, &repair, Finding::Broken),
        };
        self.well("config", format!("{} can be read", self.config.display()));
        let Some(fields) = fields else {
            let mut detail = format!("there is no entry called `{name}`");
            if !elsewhere.is_empty() {
                let projects = plain(&elsewhere.join(", ")).into_owned();
                detail.push_str(&format!(" but for the projects {projects}"));
            }
            return self.ill("entry", detail, connect, Finding::NoEntry);
        };
        let entry = Entry::read(&fields, host.shape);
        let Some(entry) = entry.clone().filter(Entry::is_pyro) else {
            let starts = describe(Some(&fields), entry.as_ref());
            return self.ill(
                "entry",
                format!("`{name}` is not pyro's: it starts `{starts}`"),
                format!("{connect} --name ANOTHER, or {connect} --replace"),
                Finding::NotPyros,
            );
        };
        self.entry = Some(entry.clone());
        if let Some((key, _)) = switched_off(&fields) {
            let detail = format!("`{name}` is switched off by `{key}`");
            return self.ill("entry", detail, repair, Finding::SwitchedOff);
        }
        let of = match &self.place.project {
            Some(project) => format!(", for the project {}", plain(project)),
            None => String::new(),
        };
        self.well("entry", format!("`{name}` starts `{}`{of}", entry.line()));
        let environment = environment(host, around);
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let path = path
            .map(|(_, path)| PathBuf::from(path))
            .unwrap_or_default();
        let command = match entry.command.contains('/') {
            true => Some(around.folder.join(&entry.command)).filter(|file| is_program(file)),
            false => on_path(&entry.command, &path),
        };
        let Some(command) = command else {
            let detail = match entry.command.contains('/') {
                true => format!("{} is not a program", plain(&entry.command)),
                false => format!("`{}` is not on {}", plain(&entry.command), path.display()),
            };
            return self.ill("command", detail, repair, Finding::NoCommand);
        };
        let of_project = self.place.scope == Some(Scope::Project);
        if of_project && entry.command.contains('/') && !is_same(&command, &around.pyro) {
            let detail = format!(
                "a file of the project names {}, so it is not started",
                plain(&command.to_string_lossy())
            );
            return self.ill("command", detail, repair, Finding::NoCommand);
        }
        self.well("command", format!("{} can be started", command.display()));
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
        let (name, why) = match probe(&whole, &environment, PATIENCE) {
            Ok(greeting) => {
                self.well("initialize", format!("it is {}", greeting.server));
                self.well(
                    "tools",
                    format!("{}: {}", greeting.tools.len(), greeting.tools.join(", ")),
                );
                self.tools = greeting.tools;
                return Finding::Nothing;
            }
            Err(Failure::NotStarted(why)) => ("command", why),
            Err(Failure::NoGreeting(why)) => ("initialize", why),
            Err(Failure::NoTools(why)) => ("tools", why),
        };
        self.ill(name, why, repair, Finding::DoesNotServe)
    }

    fn well(&mut self, name: &str, detail: String) {
        self.checks.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Ok,
            detail,
            fix: None,
        });
    }

    fn ill(&mut self, name: &str, detail: String, fix: String, finding: Finding) -> Finding {
        self.checks.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Failed,
            detail,
            fix: Some(fix),
        });
        finding
    }

    fn failed(&mut self, error: HostError, repair: &str, finding: Finding) -> Finding {
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
        self.ill("config", detail, fix, finding)
    }
}

/// What the host will start the server with, as far as that can be known.
fn environment(host: &'static Host, around: &Surroundings) -> Vec<(OsString, OsString)> {
    const KEPT: [&str; 6] = ["HOME", "PATH", "LANG", "LOGNAME", "USER", "TMPDIR"];
    let kept = |(name, _): &&(OsString, OsString)| KEPT.iter().any(|kept| name == kept);
    let bare = |(name, value): &(OsString, OsString)| match name == "PATH" && !host.from_terminal {
        true => (name.clone(), BARE_PATH.into()),
        false => (name.clone(), value.clone()),
    };
    around.variables.iter().filter(kept).map(bare).collect()
}

impl Report for Examination {
    fn report(&self, text: &mut Text) {
        text.field("Host", self.title);
        text.field("Config", self.config.display().to_string());
        text.field("Pyro", if self.healthy { "PASS" } else { "FAIL" });
        text.out("Checks:");
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "warn",
                Outcome::Failed => "FAIL",
            };
            text.out(format!("  [{mark}] {}: {}", check.name, check.detail));
            if let Some(fix) = &check.fix {
                text.out(format!("         fix: {fix}"));
            }
        }
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.healthy)
    }
}
