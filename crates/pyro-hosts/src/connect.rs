//! Writes the entry into the host's file.

use std::path::PathBuf;

use pyro_api::report::plain;
use pyro_api::{Report, Text};
use serde::Serialize;

use crate::config_file::{ConfigFile, Scope};
use crate::context::Context;
use crate::diff;
use crate::document::Document;
use crate::entry::{Entry, Field, Fields, disabled};
use crate::entry_path::EntryPath;
use crate::error::HostError;
use crate::host::Host;
use crate::launch;
use crate::options::Options;
use crate::save;

/// What was done, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Connected {
    pub host: &'static str,
    #[serde(skip)]
    pub title: &'static str,
    pub name: String,
    pub config: PathBuf,
    pub scope: Option<&'static str>,
    pub outcome: Outcome,
    pub dry_run: bool,
    pub entry: Entry,
    /// The copy of the file as it was before.
    pub backup: Option<PathBuf>,
    /// The lines that the change takes away and adds.
    pub difference: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What makes the host notice, and shows that it did.
    pub next: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was no file.
    Created,
    /// There was no entry.
    Added,
    /// The entry said something else.
    Updated,
    /// The entry was somebody else's.
    Replaced,
    /// Everything was as it should be; nothing was written.
    Unchanged,
}

/// Adds the entry that was asked for, or brings it up to date.
pub fn connect(
    host: &'static Host,
    options: &Options,
    context: &Context,
) -> Result<Connected, HostError> {
    let name = options.name()?;
    let config_file = options.config_file(host, context)?;
    let entry = launch::entry(host, options, config_file.scope, context)?;
    write(host, &config_file, name, entry, options, false, context)
}

/// Writes an entry; switches it on again when that is wanted.
pub(crate) fn write(
    host: &'static Host,
    config_file: &ConfigFile,
    name: &str,
    entry: Entry,
    options: &Options,
    switch_on: bool,
    context: &Context,
) -> Result<Connected, HostError> {
    let before = save::read(&config_file.file)?;
    let bytes = before.as_deref().unwrap_or_default();
    let fault =
        |fault: crate::document_error::DocumentError| fault.of(&config_file.file, host.format);
    let mut document = Document::parse(bytes, host.format).map_err(fault)?;
    let servers = config_file.servers(host);
    let path = EntryPath::of(&servers, name);
    let there = document.fields(path).map_err(fault)?;
    let known = there
        .as_ref()
        .and_then(|there| Entry::read(there, host.shape));
    let foreign = there.is_some() && !known.as_ref().is_some_and(Entry::is_pyro);
    if foreign && !options.replace {
        return Err(HostError::NotPyros {
            file: config_file.file.clone(),
            name: name.to_owned(),
            starts: describe(there.as_ref(), known.as_ref()),
        });
    }
    if foreign {
        document.clear(path).map_err(fault)?;
    }
    let off = there.as_ref().and_then(disabled);
    let mut fields = entry.fields(host.shape);
    if let (Some((key, on)), true) = (off, switch_on) {
        fields.push((key, Field::Switch(on)));
    }
    document.set(path, &fields).map_err(fault)?;
    let after = document.text();
    let unchanged = before.is_some() && after.as_bytes() == bytes;
    let outcome = match (&before, &there) {
        _ if unchanged => Outcome::Unchanged,
        _ if foreign => Outcome::Replaced,
        (None, _) => Outcome::Created,
        (_, None) => Outcome::Added,
        _ => Outcome::Updated,
    };
    let backup = match options.dry_run || unchanged {
        true => None,
        false => save::save(config_file, before.as_deref(), &after)?,
    };
    Ok(Connected {
        host: host.id,
        title: host.title,
        name: name.to_owned(),
        config: config_file.file.clone(),
        scope: config_file.scope.map(Scope::word),
        outcome,
        dry_run: options.dry_run,
        notes: notes(
            host,
            config_file,
            &entry,
            off.is_some() && !switch_on,
            context,
        ),
        entry,
        backup,
        difference: diff::lines(&String::from_utf8_lossy(bytes), &after),
        next: host.next,
    })
}

/// What an entry that is not pyro's starts, as far as it can be told.
pub(crate) fn describe(fields: Option<&Fields>, entry: Option<&Entry>) -> String {
    if let Some(entry) = entry {
        return entry.line();
    }
    match fields.and_then(|fields| fields.get("url")) {
        Some(Field::Text(url)) => plain(url).into_owned(),
        _ => "something that pyro cannot read".to_owned(),
    }
}

fn notes(
    host: &'static Host,
    config_file: &ConfigFile,
    entry: &Entry,
    off: bool,
    context: &Context,
) -> Vec<String> {
    let mut notes = Vec::new();
    if off {
        notes.push("the entry is switched off; `pyro host repair` switches it on".to_owned());
    }
    for name in launch::variables_not_passed_on(entry, context) {
        notes.push(format!(
            "{name} is set here, but hosts pass on little of their environment: add it to the \
             entry with `--env {name}`"
        ));
    }
    if config_file.scope == Some(Scope::Project) {
        notes.extend(host.project_note.map(str::to_owned));
        if entry.command == launch::PYRO && !host.from_terminal {
            notes.push(
                "started from a desktop, the host may not find `pyro`; `--scope user` writes its \
                 full path"
                    .to_owned(),
            );
        }
    }
    notes
}

impl Report for Connected {
    fn report(&self, text: &mut Text) {
        let would = match (self.outcome, self.dry_run) {
            (Outcome::Unchanged, _) => "Nothing to do: the entry is already there",
            (Outcome::Created, false) => "Created the file with the entry",
            (Outcome::Created, true) => "Would create the file with the entry",
            (Outcome::Added, false) => "Added the entry",
            (Outcome::Added, true) => "Would add the entry",
            (Outcome::Updated, false) => "Updated the entry",
            (Outcome::Updated, true) => "Would update the entry",
            (Outcome::Replaced, false) => "Replaced the entry of that name",
            (Outcome::Replaced, true) => "Would replace the entry of that name",
        };
        text.out(format!("{would}: {}", self.config.display()));
        for line in &self.difference {
            text.out(format!("  {line}"));
        }
        text.field("Host", self.title);
        text.field("Name", &self.name);
        text.field("Starts", self.entry.line());
        if let Some(backup) = &self.backup {
            text.field("Backup", backup.display().to_string());
        }
        for note in &self.notes {
            text.err(format!("[note] {note}"));
        }
        if !self.dry_run {
            text.err(format!("[next] {}", self.next));
        }
    }
}
