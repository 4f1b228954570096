//! Where a host keeps its configuration.

use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::error::HostError;
use crate::host::{BaseDir, Host};

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

/// The file to read and write, and whose it is; `None` for one that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) file: PathBuf,
    pub(crate) scope: Option<Scope>,
    /// The project that the servers in a person's file are for; `None` for those of all projects.
    pub(crate) project: Option<String>,
}

impl ConfigFile {
    /// The keys that lead to the servers.
    pub(crate) fn servers<'a>(&'a self, host: &'static Host) -> Vec<&'a str> {
        match (&self.project, host.projects_key) {
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
    context: &Context,
) -> Result<ConfigFile, HostError> {
    let (folder, files) = match (scope, &host.user) {
        (Scope::Project, _) if host.project.is_empty() => {
            return Err(HostError::NoProjectScope { host: host.title });
        }
        (Scope::Project, _) => (context.folder.clone(), host.project),
        (Scope::User, None) => return Err(HostError::NoKnownFile { host: host.title }),
        (Scope::User, Some(user)) => (user_folder(host, user.base, context)?, user.files),
    };
    let usual = files.last().copied().unwrap_or_default();
    let there = files.iter().find(|name| folder.join(name).exists());
    Ok(ConfigFile {
        file: folder.join(there.copied().unwrap_or(usual)),
        scope: Some(scope),
        project: None,
    })
}

/// All files of a scope that are there; the one that would be written, when none is.
pub(crate) fn all_of_scope(
    host: &'static Host,
    scope: Scope,
    context: &Context,
) -> Result<Vec<ConfigFile>, HostError> {
    let first = of_scope(host, scope, context)?;
    let files = match (scope, &host.user) {
        (Scope::User, Some(user)) => user.files,
        _ => host.project,
    };
    // Which of them counts may have changed since pyro wrote to one.
    let folder = match (scope, &host.user) {
        (Scope::User, Some(user)) => user_folder(host, user.base, context)?,
        _ => context.folder.clone(),
    };
    let there = files.iter().map(|name| folder.join(name));
    let mut places: Vec<ConfigFile> = there
        .filter(|file| file.exists() && *file != first.file)
        .map(|file| ConfigFile {
            file,
            scope: Some(scope),
            project: None,
        })
        .collect();
    places.insert(0, first);
    Ok(places)
}

/// How many folders around a file are there for nothing else than this host.
pub(crate) fn own_folders(
    host: &'static Host,
    config_file: &ConfigFile,
    context: &Context,
) -> usize {
    let parts = |path: &str| Path::new(path).components().count();
    match (config_file.scope, &host.user) {
        (Some(Scope::User), Some(user)) => match user.base {
            BaseDir::Home(below) | BaseDir::Config(below) => parts(below),
            // A folder that somebody chose may be there for more.
            BaseDir::Variable(name, _) if context.variable(name).is_some() => 0,
            BaseDir::Variable(_, below) => parts(below),
        },
        (Some(Scope::Project), _) => {
            let below = config_file.file.strip_prefix(&context.folder);
            below.map_or(0, |below| below.components().count().saturating_sub(1))
        }
        _ => 0,
    }
}

/// A file that was named.
pub(crate) fn named(file: &Path, context: &Context) -> ConfigFile {
    ConfigFile {
        file: context.folder.join(file),
        scope: None,
        project: None,
    }
}

fn user_folder(
    host: &'static Host,
    base: BaseDir,
    context: &Context,
) -> Result<PathBuf, HostError> {
    let told = |name| {
        let value = context.variable(name).map(PathBuf::from);
        // As the XDG specification has it: a relative path says nothing.
        value.filter(|path| path.is_absolute())
    };
    Ok(match base {
        BaseDir::Home(below) => context.home(host)?.join(below),
        BaseDir::Config(below) => match told("XDG_CONFIG_HOME") {
            Some(config) => config.join(below),
            None => context.home(host)?.join(".config").join(below),
        },
        BaseDir::Variable(name, below) => match told(name) {
            Some(folder) => folder,
            None => context.home(host)?.join(below),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HOSTS, find};

    fn context(variables: &[(&str, &str)]) -> Context {
        let owned = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Context {
            variables: owned.collect(),
            folder: "/nowhere/project".into(),
            pyro: "/opt/pyro".into(),
        }
    }

    fn file(id: &str, scope: Scope, variables: &[(&str, &str)]) -> String {
        let config_file = of_scope(find(id).unwrap(), scope, &context(variables)).unwrap();
        config_file.file.to_str().unwrap().to_owned()
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
        let mut context = context(&[]);
        context.folder = folder.path().into();
        for name in ["opencode.json", "opencode.jsonc"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let config_file = of_scope(find("opencode").unwrap(), Scope::Project, &context).unwrap();
        assert!(config_file.file.ends_with("opencode.jsonc"));
        let refused = of_scope(find("claude-desktop").unwrap(), Scope::Project, &context);
        assert!(matches!(refused, Err(HostError::NoProjectScope { .. })));
        let refused = of_scope(find("generic").unwrap(), Scope::User, &context);
        assert!(matches!(refused, Err(HostError::NoKnownFile { .. })));
    }
}
