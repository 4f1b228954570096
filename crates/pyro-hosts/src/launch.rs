//! What an entry has to say so that its host finds pyro.
//!
//! A host that is started from a terminal has the terminal's `PATH`, so the bare command works and
//! survives a move of the binary. A host that is started from a desktop may have nothing but
//! `/usr/bin` there, so it gets the whole path. A file of a project is shared with people whose
//! pyro lies elsewhere, so it gets the bare command whatever the host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config_file::Scope;
use crate::context::Context;
use crate::entry::Entry;
use crate::error::HostError;
use crate::host::Host;
use crate::options::Options;

pub(crate) const PYRO: &str = "pyro";

/// The entry that was asked for.
pub(crate) fn entry(
    host: &'static Host,
    options: &Options,
    scope: Option<Scope>,
    context: &Context,
) -> Result<Entry, HostError> {
    let mut args = vec!["mcp".to_owned(), "serve".to_owned()];
    if let Some(profile) = &options.profile {
        args.extend(["--profile".to_owned(), profile.clone()]);
    }
    Ok(Entry {
        command: match &options.command {
            Some(command) => command.clone(),
            None => command(host, scope, context)?,
        },
        args,
        env: variables(&options.env, context)?,
    })
}

fn command(
    host: &'static Host,
    scope: Option<Scope>,
    context: &Context,
) -> Result<String, HostError> {
    if scope == Some(Scope::Project) {
        return Ok(PYRO.to_owned());
    }
    let path = context.variable("PATH");
    let found = path.and_then(|path| find_on_path(PYRO, Path::new(path)));
    let same = found.filter(|found| is_same(found, &context.pyro));
    match same {
        Some(_) if host.from_terminal => Ok(PYRO.to_owned()),
        // As it was found, since a link to the newest version stays when versions change.
        Some(found) => text(found),
        None => text(context.pyro.clone()),
    }
}

fn text(path: PathBuf) -> Result<String, HostError> {
    let read = path.into_os_string().into_string();
    read.map_err(|path| HostError::NonUtf8Path { path: path.into() })
}

pub(crate) fn is_same(left: &Path, right: &Path) -> bool {
    match (fs::canonicalize(left), fs::canonicalize(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

/// The first of the folders' programs of this name.
pub(crate) fn find_on_path(name: &str, path: &Path) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

pub(crate) fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn variables(wanted: &[String], context: &Context) -> Result<BTreeMap<String, String>, HostError> {
    let refuse = |given: &str, why| HostError::BadVariable {
        given: given.to_owned(),
        why,
    };
    wanted
        .iter()
        .map(|given| {
            let (name, value) = match given.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = context.variable(given);
                    let value = value.ok_or_else(|| refuse(given, "it is not set here"))?;
                    let value = value.to_str();
                    let value =
                        value.ok_or_else(|| refuse(given, "its value is not UTF-8 text"))?;
                    (given.as_str(), value.to_owned())
                }
            };
            if name.is_empty() {
                return Err(refuse(given, "it has no name"));
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}

/// Settings of pyro that are set here and that the host will not hand on by itself.
pub(crate) fn variables_not_passed_on(entry: &Entry, context: &Context) -> Vec<String> {
    // What a development build or a test sets says nothing about where things are kept.
    const RELEVANT: [&str; 4] = [
        "PYRO_STATE_DIR",
        "PYRO_ENVIRONMENT_CACHE_DIR",
        "PYRO_BACKEND",
        "PYRO_ISOLATION",
    ];
    let set = RELEVANT
        .iter()
        .filter(|name| context.variable(name).is_some());
    set.filter(|name| !entry.env.contains_key(**name))
        .map(|name| (*name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::find;

    struct Machine {
        _folder: tempfile::TempDir,
        context: Context,
        link: String,
        pyro: String,
    }

    /// A `pyro` in a version's folder, and a link to it that is on `PATH`.
    fn machine(linked: bool) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (bin, version) = (root.join("my bin"), root.join("pyro-4.0.0"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&version).unwrap();
        let pyro = version.join("pyro");
        fs::write(&pyro, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&pyro, fs::Permissions::from_mode(0o755)).unwrap();
        let link = bin.join("pyro");
        if linked {
            std::os::unix::fs::symlink(&pyro, &link).unwrap();
        }
        let path = std::env::join_paths([Path::new("/nowhere"), &bin]).unwrap();
        Machine {
            context: Context {
                variables: vec![
                    ("PATH".into(), path),
                    ("PYRO_STATE_DIR".into(), "/s".into()),
                ],
                folder: root,
                pyro: pyro.clone(),
            },
            link: link.to_str().unwrap().into(),
            pyro: pyro.to_str().unwrap().into(),
            _folder: folder,
        }
    }

    #[test]
    fn terminals_get_the_bare_command_and_desktops_the_path() {
        let machine = machine(true);
        let command = |id, scope| command(find(id).unwrap(), scope, &machine.context).unwrap();
        assert_eq!(command("codex", Some(Scope::User)), "pyro");
        assert_eq!(command("claude-desktop", Some(Scope::User)), machine.link);
        assert_eq!(command("vscode", Some(Scope::Project)), "pyro");
    }

    #[test]
    fn a_pyro_that_is_not_on_path_is_named_whole() {
        let machine = machine(false);
        let command = command(find("codex").unwrap(), Some(Scope::User), &machine.context);
        assert_eq!(command.unwrap(), machine.pyro);
    }

    #[test]
    fn variables_are_passed_on_by_name_or_with_a_value() {
        let machine = machine(false);
        let given = ["PYRO_STATE_DIR".to_owned(), "A=b=c".to_owned()];
        let passed = variables(&given, &machine.context).unwrap();
        assert_eq!(passed["PYRO_STATE_DIR"], "/s");
        assert_eq!(passed["A"], "b=c");
        for wrong in ["NOT_SET", "=x"] {
            let refused = variables(&[wrong.to_owned()], &machine.context);
            assert!(
                matches!(refused, Err(HostError::BadVariable { .. })),
                "{wrong}"
            );
        }
        let entry = Entry::default();
        assert_eq!(
            variables_not_passed_on(&entry, &machine.context),
            ["PYRO_STATE_DIR"]
        );
    }
}
