//! What is to be built: the file, where it copies from, what it leaves out. A model may name only folders that it
//! may read.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use pyro_api::operations::env_build::EnvBuild;
use pyro_api::{Caller, Error, ErrorCode};
use pyro_build::File;
use pyro_build::devcontainer::{Devcontainer, From};
use pyro_build::ignore_rules::IgnoreRules;
use pyro_oci::Config;
use pyro_transfer::host_paths::{expand_home, home};

use super::Built;
use super::errors::build_refused;
use crate::error::host_io;
use crate::workspace::host_paths::admit;

/// Where a build is looked for when nobody says.
const NAMES: [&str; 4] = [
    "Containerfile",
    "Dockerfile",
    ".devcontainer/devcontainer.json",
    ".devcontainer.json",
];

const LONGEST_FILE: u64 = 1024 * 1024;

/// One file to build, with its context.
pub(super) struct Recipe {
    pub(super) file: File,
    /// What it is called in errors.
    pub(super) shown: String,
    pub(super) context: PathBuf,
    pub(super) rules: IgnoreRules,
    pub(super) args: BTreeMap<String, String>,
    pub(super) target: Option<String>,
    /// What the recipe that this goes on from says of its programs, and under which name its disk is.
    pub(super) below: Option<(&'static str, Config)>,
}

impl Recipe {
    /// The same, where it goes on from what another recipe has built.
    pub(super) fn after(self, below: &Built) -> Self {
        let from = below.installed.spec.name;
        Self {
            file: self.file.beginning_with(from),
            below: Some((from, below.config.clone())),
            ..self
        }
    }
}

/// What a caller named, read.
pub(super) struct Source {
    pub(super) file: PathBuf,
    /// Each goes on from the one before.
    pub(super) recipes: Vec<Recipe>,
    pub(super) notes: Vec<String>,
}

impl Source {
    pub(super) async fn read(asked: &EnvBuild, caller: &Caller) -> Result<Self, Error> {
        let context = named(&asked.context);
        admit(&context, caller).await?;
        if !context.is_dir() {
            let what = format!("The context `{}` is no folder", context.display());
            return Err(Error::invalid(what)
                .hint("Give the folder that `COPY` takes files from, such as `.`"));
        }
        let file = match &asked.file {
            Some(file) => named(file),
            None => found_in(&context)?,
        };
        let is_devcontainer = file.extension().is_some_and(|it| it == "json");
        let text = read_file(&file, caller).await?;
        if is_devcontainer {
            return devcontainer(asked, context, file, &text, caller).await;
        }
        let recipe = Recipe {
            args: asked.build_args.to_map(),
            target: asked.target.clone(),
            ..recipe(&file, &text, context, caller).await?
        };
        Ok(Self {
            file,
            recipes: vec![recipe],
            notes: Vec::new(),
        })
    }
}

async fn recipe(
    path: &Path,
    text: &str,
    context: PathBuf,
    caller: &Caller,
) -> Result<Recipe, Error> {
    let shown = path.display().to_string();
    let file = File::parse(text).map_err(|error| build_refused(&shown, &error))?;
    Ok(Recipe {
        file,
        shown,
        rules: ignore_rules(path, &context, caller).await?,
        context,
        args: BTreeMap::new(),
        target: None,
        below: None,
    })
}

async fn devcontainer(
    asked: &EnvBuild,
    project: PathBuf,
    path: PathBuf,
    text: &str,
    caller: &Caller,
) -> Result<Source, Error> {
    let shown = path.display().to_string();
    let refused = |error| build_refused(&shown, &error);
    let read = Devcontainer::parse(text).map_err(refused)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut recipes = Vec::new();
    let from = match &read.from {
        From::Image(image) => image.clone(),
        From::Build {
            containerfile,
            context,
            args,
            target,
        } => {
            let (file, context) = (folder.join(containerfile), folder.join(context));
            for (key, path) in [("dockerfile", &file), ("context", &context)] {
                stays_in(&project, path).map_err(|why| {
                    let told = Error::invalid(format!("`{shown}` cannot be built"));
                    told.because(format!("its `{key}` {why}")).hint(format!(
                        "A project names only what is its own; build with a context that holds both, or name the \
                         Containerfile with `-f` (`file`) instead of `{shown}`"
                    ))
                })?;
            }
            admit(&context, caller).await?;
            let text = read_file(&file, caller).await?;
            let mut args = args.clone();
            args.extend(asked.build_args.to_map());
            recipes.push(Recipe {
                args,
                target: asked.target.clone().or_else(|| target.clone()),
                ..recipe(&file, &text, context, caller).await?
            });
            // Replaced when that is built.
            "below".to_owned()
        }
    };
    if recipes.is_empty() || read.goes_on() {
        let text = read.containerfile(&from);
        recipes.push(Recipe {
            file: File::parse(&text).map_err(|error| build_refused(&shown, &error))?,
            shown: shown.clone(),
            rules: ignore_rules(&path, &project, caller).await?,
            context: project,
            args: BTreeMap::new(),
            target: None,
            below: None,
        });
    }
    Ok(Source {
        file: path,
        recipes,
        notes: read.notes,
    })
}

/// Says why a path is none of a project's. Links count as what they lead to.
fn stays_in(project: &Path, path: &Path) -> Result<(), String> {
    let real = |path: &Path| {
        let real = path.canonicalize();
        real.map_err(|error| format!("`{}` cannot be found: {error}", path.display()))
    };
    let (project, path) = (real(project)?, real(path)?);
    match path.starts_with(&project) {
        true => Ok(()),
        false => Err(format!(
            "is `{}`, which is not in `{}`",
            path.display(),
            project.display()
        )),
    }
}

/// As it was given, with `~` replaced.
fn named(path: &Path) -> PathBuf {
    expand_home(path, home().as_deref())
}

fn found_in(context: &Path) -> Result<PathBuf, Error> {
    let found = NAMES
        .iter()
        .map(|name| context.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::invalid(format!(
            "There is nothing to build in `{}`",
            context.display()
        ))
        .because(format!("looked for {}", NAMES.join(", ")))
        .hint("Name the file with `-f` (`file`)")
    })
}

/// Those beside the file come before those of the context, as Docker has it.
async fn ignore_rules(file: &Path, context: &Path, caller: &Caller) -> Result<IgnoreRules, Error> {
    let beside = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let places = [
        beside(".dockerignore"),
        beside(".containerignore"),
        context.join(".containerignore"),
        context.join(".dockerignore"),
    ];
    let Some(path) = places.into_iter().find(|path| path.is_file()) else {
        return Ok(IgnoreRules::default());
    };
    let text = read_file(&path, caller).await?;
    IgnoreRules::parse(&text).map_err(|(line, text)| {
        Error::invalid(format!("`{}` cannot be read", path.display()))
            .because(format!("line {line}: `{text}` is no pattern"))
            .hint("Patterns are those of `.dockerignore`, such as `node_modules` or `**/*.log`")
    })
}

async fn read_file(path: &Path, caller: &Caller) -> Result<String, Error> {
    admit(path, caller).await?;
    let what = || format!("`{}` cannot be read", path.display());
    let read = || {
        // Not for ever, where it is a pipe.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits())
            .open(path)?;
        let about = file.metadata()?;
        let mut bytes = Vec::new();
        if about.is_file() {
            file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        }
        Ok((about.is_file(), bytes))
    };
    let (is_file, bytes) = read().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::invalid(what()).because("it is not there").hint(
            "The path of `-f` (`file`) begins at the folder where pyro runs, not at the context",
        ),
        _ => host_io(what(), &error),
    })?;
    if !is_file {
        return Err(Error::invalid(what()).because("it is no regular file"));
    }
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(Error::invalid(what()).because("it is longer than 1 MiB"));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorCode::InvalidArgument, what()).because("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_project_names_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        std::fs::create_dir_all(project.join(".devcontainer")).unwrap();
        std::os::unix::fs::symlink(folder.path(), project.join("out")).unwrap();
        let told = |path: &str| stays_in(&project, &project.join(".devcontainer").join(path));
        assert_eq!(told(".."), Ok(()));
        assert_eq!(told("."), Ok(()));
        for (path, why) in [
            ("../..", "which is not in"),
            ("/", "which is not in"),
            ("../out", "which is not in"),
            ("missing", "cannot be found"),
        ] {
            let refused = told(path).unwrap_err();
            assert!(refused.contains(why), "{path}: {refused}");
        }
    }
}
