//! Where a host keeps its configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::HostError;
use crate::host::Host;

/// Whose configuration: a person's, or that of the project in the current folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    User,
    Project,
}

impl Scope {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

/// What lies around a call, so that nothing in here reads it from the process.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub variables: Vec<(OsString, OsString)>,
    pub folder: PathBuf,
    /// This program.
    pub pyro: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Result<Self, HostError> {
        let read = |what, result: std::io::Result<PathBuf>| {
            result.map_err(|source| HostError::Unknown { what, source })
        };
        Ok(Self {
            variables: std::env::vars_os().collect(),
            folder: read("the current folder", std::env::current_dir())?,
            pyro: read("the path of this program", std::env::current_exe())?,
        })
    }

    /// A variable that says something.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    fn home(&self, host: &'static Host) -> Result<PathBuf, HostError> {
        let given = self.variable("HOME").map(PathBuf::from);
        let home = given.or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::current());
            user.ok().flatten().map(|user| user.dir)
        });
        home.filter(|home| home.is_absolute())
            .ok_or(HostError::NoHome { host: host.title })
    }
}

/// The folder of a person's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// Below the home folder.
    Home(&'static str),
    /// Below `$XDG_CONFIG_HOME`, else `~/.config`.
    Config(&'static str),
    /// What the variable says, else this below the home folder.
    Variable(&'static str, &'static str),
}

/// The file to read and write, and whose it is; `None` for one that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) scope: Option<Scope>,
    /// The project that the servers in a person's file are for; `None` for those of all projects.
    pub(crate) project: Option<String>,
}

impl Place {
    /// The keys that lead to the servers.
    pub(crate) fn servers<'a>(&'a self, host: &'static Host) -> Vec<&'a str> {
        match (&self.project, host.by_folder) {
            (Some(project), Some(key)) => {
                let mut keys = vec![key, project.as_str()];
                keys.extend(host.servers);
                keys
            }
            _ => host.servers.to_vec(),
        }
    }

    /// The same file, and in it the servers of a project.
    pub(crate) fn of_project(&self, project: String) -> Self {
        Self {
            project: Some(project),
            ..self.clone()
        }
    }
}

/// The file of a scope.
pub(crate) fn of_scope(
    host: &'static Host,
    scope: Scope,
    around: &Surroundings,
) -> Result<Place, HostError> {
    let (folder, files) = match (scope, &host.user) {
        (Scope::Project, _) if host.project.is_empty() => {
            return Err(HostError::NoProjectScope { host: host.title });
        }
        (Scope::Project, _) => (around.folder.clone(), host.project),
        (Scope::User, None) => return Err(HostError::NoKnownFile { host: host.title }),
        (Scope::User, Some(user)) => (user_folder(host, user.base, around)?, user.files),
    };
    let usual = files.last().copied().unwrap_or_default();
    let there = files.iter().find(|name| folder.join(name).exists());
    Ok(Place {
        file: folder.join(there.copied().unwrap_or(usual)),
        scope: Some(scope),
        project: None,
    })
}

/// All files of a scope that are there; the one that would be written, when none is.
pub(crate) fn all_of_scope(
    host: &'static Host,
    scope: Scope,
    around: &Surroundings,
) -> Result<Vec<Place>, HostError> {
    let first = of_scope(host, scope, around)?;
    let files = match (scope, &host.user) {
        (Scope::User, Some(user)) => user.files,
        _ => host.project,
    };
    // Which of them counts may have changed since pyro wrote to one.
    let folder = match (scope, &host.user) {
        (Scope::User, Some(user)) => user_folder(host, user.base, around)?,
        _ => around.folder.clone(),
    };
    let there = files.iter().map(|name| folder.join(name));
    let mut places: Vec<Place> = there
        .filter(|file| file.exists() && *file != first.file)
        .map(|file| Place {
            file,
            scope: Some(scope),
            project: None,
        })
        .collect();
    places.insert(0, first);
    Ok(places)
}

/// How many folders around a file are there for nothing else than this host.
pub(crate) fn own_folders(host: &'static Host, place: &Place, around: &Surroundings) -> usize {
    let parts = |path: &str| Path::new(path).components().count();
    match (place.scope, &host.user) {
        (Some(Scope::User), Some(user)) => match user.base {
            Base::Home(below) | Base::Config(below) => parts(below),
            // A folder that somebody chose may be there for more.
            Base::Variable(name, _) if around.variable(name).is_some() => 0,
            Base::Variable(_, below) => parts(below),
        },
        (Some(Scope::Project), _) => {
            let below = place.file.strip_prefix(&around.folder);
            below.map_or(0, |below| below.components().count().saturating_sub(1))
        }
        _ => 0,
    }
}

/// A file that was named.
pub(crate) fn named(file: &Path, around: &Surroundings) -> Place {
    Place {
        file: around.folder.join(file),
        scope: None,
        project: None,
    }
}

fn user_folder(
    host: &'static Host,
    base: Base,
    around: &Surroundings,
) -> Result<PathBuf, HostError> {
    let told = |name| {
        let value = around.variable(name).map(PathBuf::from);
        // As the XDG specification has it: a relative path says nothing.
        value.filter(|path| path.is_absolute())
    };
    Ok(match base {
        Base::Home(below) => around.home(host)?.join(below),
        Base::Config(below) => match told("XDG_CONFIG_HOME") {
            Some(config) => config.join(below),
            None => around.home(host)?.join(".config").join(below),
        },
        Base::Variable(name, below) => match told(name) {
            Some(folder) => folder,
            None => around.home(host)?.join(below),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HOSTS, find};

    fn around(variables: &[(&str, &str)]) -> Surroundings {
        let owned = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Surroundings {
            variables: owned.collect(),
            folder: "/nowhere/project".into(),
            pyro: "/opt/pyro".into(),
        }
    }

    fn file(id: &str, scope: Scope, variables: &[(&str, &str)]) -> String {
        let place = of_scope(find(id).unwrap(), scope, &around(variables)).unwrap();
        place.file.to_str().unwrap().to_owned()
    }

    #[test]
    fn files_are_where_the_hosts_look() {
        let home = [("HOME", "/nowhere/me")];
        let user: Vec<String> = HOSTS
            .iter()
            .filter(|host| host.user.is_some())
            .map(|host| file(host.id, Scope::User, &home))
            .collect();
        assert_eq!(
            user,
            [
                "/nowhere/me/.claude.json",
                "/nowhere/me/.codex/config.toml",
                "/nowhere/me/.config/opencode/opencode.json",
                "/nowhere/me/.config/Claude/claude_desktop_config.json",
                "/nowhere/me/.cursor/mcp.json",
                "/nowhere/me/.config/Code/User/mcp.json",
                "/nowhere/me/.gemini/settings.json",
                "/nowhere/me/.config/zed/settings.json",
            ]
        );
        assert_eq!(
            file("vscode", Scope::Project, &home),
            "/nowhere/project/.vscode/mcp.json"
        );
    }

    #[test]
    fn variables_move_them() {
        let moved = [
            ("HOME", "/nowhere/me"),
            ("XDG_CONFIG_HOME", "/nowhere/config"),
            ("CODEX_HOME", "/nowhere/codex"),
            ("CLAUDE_CONFIG_DIR", "relative, so it says nothing"),
        ];
        assert_eq!(
            file("zed", Scope::User, &moved),
            "/nowhere/config/zed/settings.json"
        );
        assert_eq!(
            file("codex", Scope::User, &moved),
            "/nowhere/codex/config.toml"
        );
        assert_eq!(
            file("claude-code", Scope::User, &moved),
            "/nowhere/me/.claude.json"
        );
    }

    #[test]
    fn a_file_that_exists_is_taken_and_a_scope_that_does_not_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut around = around(&[]);
        around.folder = folder.path().into();
        for name in ["opencode.json", "opencode.jsonc"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let place = of_scope(find("opencode").unwrap(), Scope::Project, &around).unwrap();
        assert!(place.file.ends_with("opencode.jsonc"));
        let refused = of_scope(find("claude-desktop").unwrap(), Scope::Project, &around);
        assert!(matches!(refused, Err(HostError::NoProjectScope { .. })));
        let refused = of_scope(find("generic").unwrap(), Scope::User, &around);
        assert!(matches!(refused, Err(HostError::NoKnownFile { .. })));
    }
}
