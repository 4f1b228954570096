//! An ordinary user: whoever runs the tests, or `pyrotest` when that is root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use pyro_tests::world::{finish, pyro};
use pyro_tests::{World, program};

const NAME: &str = "pyrotest";

/// An entry of the list of users.
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// By name or number. Asked of `getent`: this program is static, and the libraries that the
    /// host's list of users may need are not made for one.
    fn find(key: &str) -> Option<Self> {
        let found = finish(Command::new("getent").args(["passwd", key]));
        let line = found.out();
        let mut fields = line.trim_end().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let mut ids = fields.skip(1).map(str::parse);
        Some(Self {
            name,
            uid: ids.next()?.ok()?,
            gid: ids.next()?.ok()?,
        })
    }
}

/// Somebody without any right, whose home, programs and state are below a world's folder.
pub(crate) struct Person<'a> {
    world: &'a World,
    user: User,
}

impl<'a> Person<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        let user = if geteuid().is_root() {
            created()
        } else {
            User::find(&geteuid().to_string()).expect("an entry for this user")
        };
        let person = Self { world, user };
        person.own(world.folder(), 0o755);
        for folder in [person.home(), person.bin()] {
            fs::create_dir(&folder).expect("a folder for a person");
        }
        person.own(&person.home(), 0o700);
        // Copies, because the build may be somewhere below root's home.
        for (from, name) in [(pyro(), "pyro"), (agent(), "pyro-agent")] {
            program::copy(&from, &person.bin().join(name));
        }
        person
    }

    pub(crate) fn name(&self) -> &str {
        &self.user.name
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.world.folder().join("home")
    }

    /// Makes all below a path this person's.
    pub(crate) fn give(&self, path: &Path) {
        let owner = format!("{}:{}", self.user.uid, self.user.gid);
        let ran = finish(
            Command::new("chown")
                .args(["--recursive", "--no-dereference", &owner])
                .arg(path),
        );
        assert_eq!(ran.code(), 0, "{}", ran.err());
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home().join(".local/state/pyro")
    }

    /// This person's copy of the agent.
    pub(crate) fn agent(&self) -> PathBuf {
        self.bin().join("pyro-agent")
    }

    fn bin(&self) -> PathBuf {
        self.world.folder().join("bin")
    }

    fn own(&self, folder: &Path, mode: u32) {
        chown(folder, Some(self.user.uid), Some(self.user.gid)).expect("to give a folder away");
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// `pyro`, started by this person with a login's environment, and these variables.
    pub(crate) fn pyro_with<A: AsRef<OsStr>>(
        &self,
        variables: &[(&str, &Path)],
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        self.program_with(&self.bin().join("pyro"), variables, args)
    }

    /// The same for any program.
    pub(crate) fn program_with<A: AsRef<OsStr>>(
        &self,
        program: &Path,
        variables: &[(&str, &Path)],
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        // By `env` and not by `env_clear`, as this command may be wrapped into another.
        let mut command = Command::new("env");
        command
            .args(["--ignore-environment", "PATH=/usr/local/bin:/usr/bin:/bin"])
            .arg(format!("USER={}", self.name()));
        let mirror = std::env::var_os("PYRO_DEBIAN_MIRROR").map(PathBuf::from);
        let mirror = mirror
            .as_deref()
            .map(|mirror| ("PYRO_DEBIAN_MIRROR", mirror));
        let home = self.home();
        let login = [("HOME", home.as_path())];
        for (name, value) in login.iter().chain(&mirror).chain(variables) {
            let mut assignment = OsString::from(format!("{name}="));
            assignment.push(value);
            command.arg(assignment);
        }
        if geteuid().is_root() {
            command
                .arg("setpriv")
                .arg(format!("--reuid={}", self.user.uid))
                .arg(format!("--regid={}", self.user.gid))
                .args(["--init-groups", "--inh-caps=-all", "--"]);
        }
        command
            .arg(program)
            .args(args)
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn pyro<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.pyro_with(&[], args)
    }
}

/// The agent under test.
pub(crate) fn agent() -> PathBuf {
    std::env::var_os("PYRO_AGENT").map_or_else(|| pyro().with_file_name("pyro-agent"), Into::into)
}

fn created() -> User {
    let find = || User::find(NAME);
    find().unwrap_or_else(|| {
        let ran = finish(Command::new("useradd").args(["--create-home", NAME]));
        assert_eq!(ran.code(), 0, "useradd {NAME}: {}", ran.err());
        find().expect("the new user")
    })
}
