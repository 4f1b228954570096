//! Takes the entry out of the files of hosts.
//!
//! Everything else stays as its owner wrote it. What only pyro can have made goes with the entry: a
//! table of servers without servers, a file without anything in it, its folder.

use std::path::PathBuf;

use pyro_api::report::plain;
use pyro_api::{Report, Text};
use serde::Serialize;

use crate::config_file::{self, ConfigFile, Scope};
use crate::connect::describe;
use crate::context::Context;
use crate::diff;
use crate::document::Document;
use crate::document_error::DocumentError;
use crate::entry::Entry;
use crate::entry_path::EntryPath;
use crate::error::HostError;
use crate::host::Host;
use crate::options::Options;
use crate::save;

/// What was done, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disconnected {
    pub dry_run: bool,
    /// The entries that went. None is an answer, too.
    pub removed: Vec<Removed>,
    /// The copies of files that went.
    pub purged: Vec<PathBuf>,
    /// The files that were looked into.
    pub looked: Vec<PathBuf>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The files that could not be changed, when there are others.
    pub failed: Vec<String>,
}

/// What went out of one file.
#[derive(Clone, Debug, Serialize)]
pub struct Removed {
    pub host: &'static str,
    #[serde(skip)]
    pub title: &'static str,
    pub names: Vec<String>,
    /// The projects that had entries of their own in a person's file.
    pub projects: Vec<String>,
    pub config: PathBuf,
    pub scope: Option<&'static str>,
    /// Whether nothing else was in the file, which went with them.
    pub file_removed: bool,
    /// The copy of the file as it was before.
    pub backup: Option<PathBuf>,
    /// The lines that the change takes away and adds.
    pub difference: Vec<String>,
}

/// Removes what starts pyro, or the one entry that was named, from the configuration of a host.
pub fn disconnect(
    host: &'static Host,
    options: &Options,
    purge: bool,
    context: &Context,
) -> Result<Disconnected, HostError> {
    let mut done = Disconnected::new(options);
    for config_file in places(host, options, context)? {
        done.remove_from(host, &config_file, options, purge, context)?;
    }
    Ok(done)
}

/// The same for every host that pyro knows a file of. One that cannot be changed keeps no other
/// from it.
pub fn disconnect_all(
    options: &Options,
    purge: bool,
    context: &Context,
) -> Result<Disconnected, HostError> {
    let mut done = Disconnected::new(options);
    for host in crate::HOSTS {
        let places = match places(host, options, context) {
            Err(HostError::NoKnownFile { .. } | HostError::NoProjectScope { .. }) => continue,
            places => places?,
        };
        for config_file in places {
            if let Err(error) = done.remove_from(host, &config_file, options, purge, context) {
                done.failed.push(pyro_api::Error::from(error).in_words());
            }
        }
    }
    Ok(done)
}

fn places(
    host: &'static Host,
    options: &Options,
    context: &Context,
) -> Result<Vec<ConfigFile>, HostError> {
    match &options.config {
        Some(file) => Ok(vec![config_file::named(file, context)]),
        None => config_file::all_of_scope(host, options.scope.unwrap_or(Scope::User), context),
    }
}

impl Disconnected {
    fn new(options: &Options) -> Self {
        Self {
            dry_run: options.dry_run,
            ..Self::default()
        }
    }

    fn remove_from(
        &mut self,
        host: &'static Host,
        config_file: &ConfigFile,
        options: &Options,
        purge: bool,
        context: &Context,
    ) -> Result<(), HostError> {
        self.looked.push(config_file.file.clone());
        if let Some(before) = save::read(&config_file.file)? {
            self.change(host, config_file, &before, options, purge)?;
        }
        let copies = save::backups(&config_file.file);
        let gone = !config_file.file.exists() && !config_file.file.is_symlink();
        let purged = purge && !copies.is_empty();
        if purge {
            for copy in copies {
                if !options.dry_run {
                    save::delete_backup(&copy)?;
                }
                self.purged.push(copy);
            }
        } else if !copies.is_empty() && !options.dry_run {
            self.notes.push(format!(
                "backups are kept as {}; `--purge` removes them",
                shown(&copies)
            ));
        }
        let ours = self
            .removed
            .iter()
            .any(|one| one.config == config_file.file)
            || purged;
        if gone && ours && !options.dry_run {
            save::remove_empty_folders(
                &config_file.file,
                config_file::own_folders(host, config_file, context),
            );
        }
        Ok(())
    }

    fn change(
        &mut self,
        host: &'static Host,
        config_file: &ConfigFile,
        before: &[u8],
        options: &Options,
        purge: bool,
    ) -> Result<(), HostError> {
        let fault = |fault: DocumentError| fault.of(&config_file.file, host.format);
        let mut document = Document::parse(before, host.format).map_err(fault)?;
        let mut tables = vec![config_file.clone()];
        if config_file.scope != Some(Scope::Project) {
            let projects = document.projects(host).into_iter();
            tables.extend(projects.map(|project| config_file.of_project(project)));
        }
        let (mut removed, mut projects) = (Vec::new(), Vec::new());
        let tables = tables.iter().map(|table| (table, table.servers(host)));
        let mut spots = Vec::new();
        for (table, servers) in tables {
            let names = match &options.name {
                Some(_) => vec![options.name()?.to_owned()],
                None if table.project.is_some() => document.names(&servers).unwrap_or_default(),
                None => document.names(&servers).map_err(fault)?,
            };
            let in_table = |name| (table, servers.clone(), name);
            spots.extend(names.into_iter().map(in_table));
        }
        for (table, servers, name) in spots {
            let path = EntryPath::of(&servers, &name);
            let is_meant = options.name.is_some() && table.project.is_none();
            let fields = match document.fields(path) {
                // Something of another shape is nobody's entry that could be meant.
                Err(DocumentError::WrongShape { .. }) if !is_meant => continue,
                fields => fields.map_err(fault)?,
            };
            let Some(fields) = fields else { continue };
            let entry = Entry::read(&fields, host.shape);
            if entry.as_ref().is_some_and(Entry::is_pyro) {
                document.remove(path).map_err(fault)?;
                projects.extend(table.project.clone());
                if !removed.contains(&name) {
                    removed.push(name);
                }
            } else if is_meant {
                return Err(HostError::NotToRemove {
                    file: config_file.file.clone(),
                    name,
                    starts: describe(Some(&fields), entry.as_ref()),
                });
            } else if name == crate::options::DEFAULT_NAME {
                self.notes.push(format!(
                    "`{name}` in {} was kept: it starts `{}`, which is not pyro",
                    config_file.file.display(),
                    describe(Some(&fields), entry.as_ref())
                ));
            }
        }
        projects.dedup();
        if removed.is_empty() {
            return Ok(());
        }
        let after = document.text();
        let link = config_file.file.is_symlink();
        let file_removed = document.is_empty() && !link;
        let difference = diff::lines(&String::from_utf8_lossy(before), &after);
        let mut backup = None;
        if !options.dry_run {
            match file_removed {
                true => save::remove(config_file, before)?,
                false => backup = save::save(config_file, Some(before), &after)?,
            }
            if purge {
                // It goes with the others.
                backup = None;
            }
        }
        self.removed.push(Removed {
            host: host.id,
            title: host.title,
            names: removed,
            projects,
            config: config_file.file.clone(),
            scope: config_file.scope.map(Scope::word),
            file_removed,
            backup,
            difference,
        });
        Ok(())
    }
}

fn shown(files: &[PathBuf]) -> String {
    let files = files.iter().map(|file| file.display().to_string());
    files.collect::<Vec<_>>().join(", ")
}

impl Report for Disconnected {
    fn report(&self, text: &mut Text) {
        for one in &self.removed {
            let did = match (self.dry_run, one.file_removed) {
                (false, false) => "Removed the entry from",
                (false, true) => "Removed the file, which held nothing else:",
                (true, false) => "Would remove the entry from",
                (true, true) => "Would remove the file, which holds nothing else:",
            };
            text.out(format!("{did} {}", one.config.display()));
            for line in &one.difference {
                text.out(format!("  {line}"));
            }
            text.field("Host", one.title);
            text.field("Name", one.names.join(", "));
            text.field("Projects", plain(&one.projects.join(", ")));
            if let Some(backup) = &one.backup {
                text.field("Backup", backup.display().to_string());
            }
        }
        if self.removed.is_empty() && self.failed.is_empty() {
            text.out(format!(
                "Nothing to do: no entry starts pyro in {}",
                shown(&self.looked)
            ));
        }
        let did = if self.dry_run {
            "Would remove"
        } else {
            "Removed"
        };
        for copy in &self.purged {
            text.out(format!("{did} the backup {}", copy.display()));
        }
        for note in &self.notes {
            text.err(format!("[note] {note}"));
        }
        for error in &self.failed {
            text.err(format!("[error] {}", error.trim_end()));
        }
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.failed.is_empty())
    }
}
