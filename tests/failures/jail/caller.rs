//! Who runs pyro: root, or somebody without any right.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use pyro_tests::world::pyro;
use pyro_tests::{World, played};

use crate::unprivileged_user::{Person, agent};

pub(super) enum Caller<'a> {
    Root(&'a World),
    Person(Person<'a>),
}

impl<'a> Caller<'a> {
    pub(super) fn root(world: &'a World) -> Option<Self> {
        let root = geteuid().is_root().then_some(());
        played(root, "only root can be root")?;
        let home = world.folder().join("home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        Some(Self::Root(world))
    }

    pub(super) fn person(world: &'a World) -> Self {
        Self::Person(Person::of(world))
    }

    pub(super) fn is_root(&self) -> bool {
        matches!(self, Self::Root(_))
    }

    pub(super) fn home(&self) -> PathBuf {
        match self {
            Self::Root(world) => world.folder().join("home"),
            Self::Person(person) => person.home(),
        }
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        match self {
            Self::Root(world) => world.state_dir(),
            Self::Person(person) => person.state_dir(),
        }
    }

    /// The guest's agent, where they can read it.
    pub(super) fn agent(&self) -> PathBuf {
        match self {
            Self::Root(_) => agent(),
            Self::Person(person) => person.agent(),
        }
    }

    /// Makes it theirs, with all that is below.
    pub(super) fn give(&self, path: &Path) {
        match self {
            Self::Root(_) => {}
            Self::Person(person) => person.give(path),
        }
    }

    /// A program in their name, with these variables beside those of a login.
    pub(super) fn program(
        &self,
        program: &Path,
        variables: &[(&str, &Path)],
        args: &[&str],
    ) -> Command {
        match self {
            Self::Root(world) => {
                let mut command = Command::new(program);
                command
                    .args(args)
                    .envs(world.variables())
                    .env("HOME", self.home())
                    .env("PYRO_AGENT", self.agent())
                    .envs(variables.iter().copied())
                    .current_dir(self.home())
                    .stdin(Stdio::null());
                command
            }
            Self::Person(person) => person.program_with(program, variables, args),
        }
    }

    pub(super) fn pyro(&self, variables: &[(&str, &Path)], args: &[&str]) -> Command {
        match self {
            Self::Root(_) => self.program(&pyro(), variables, args),
            Self::Person(person) => person.pyro_with(variables, args),
        }
    }
}
