//! A mount namespace of its own around a command, so that a test may mount what it likes.
//!
//! Root just unshares. An ordinary user becomes root of a user namespace as well, in which pyro
//! then runs as user 0; where the host forbids that, the test fails and says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use pyro_tests::{World, program};

pub(crate) struct Mounts {
    script: String,
    paths: Vec<PathBuf>,
}

impl Mounts {
    pub(crate) fn new() -> Self {
        Self {
            script: "set -eu\n".to_owned(),
            paths: Vec::new(),
        }
    }

    /// An empty file system in memory; `options` are those of tmpfs.
    pub(crate) fn tmpfs(mut self, at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).expect("a place for a mount");
        let at = self.path(at);
        self.line(format!("mount -t tmpfs -o {options} pyro-test {at}"))
    }

    /// A file system of two layers, as containers have one for all that is theirs.
    pub(crate) fn overlay(mut self, world: &World, at: &Path) -> Self {
        let layers = world.folder().join("overlay");
        for folder in ["lower", "upper", "work"] {
            std::fs::create_dir_all(layers.join(folder)).expect("a folder");
        }
        std::fs::create_dir_all(at).expect("a place for a mount");
        let (layers, at) = (self.path(&layers), self.path(at));
        self.line(format!("cd {layers}")).line(format!(
            "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work pyro-test {at}\ncd /"
        ))
    }

    /// A line of shell of one test alone.
    pub(crate) fn line_of(self, line: &str) -> Self {
        self.line(line)
    }

    /// Fills the file system at a path to the last byte.
    pub(crate) fn full(mut self, at: &Path) -> Self {
        let at = self.path(at);
        self.line(format!("cat /dev/zero > {at}/filler 2> /dev/null || true"))
    }

    /// Nobody may write there any more, root included.
    pub(crate) fn read_only(mut self, at: &Path) -> Self {
        let at = self.path(at);
        // In a user namespace the flags that the mount has already must be named again.
        self.line(format!("mount --bind {at} {at}")).line(format!(
            "mount -o remount,bind,ro {at} 2> /dev/null ||
             mount -o remount,bind,ro,nosuid,nodev {at}"
        ))
    }

    /// Shows `with` where `path` is.
    pub(crate) fn cover(mut self, path: &Path, with: &Path) -> Self {
        let (path, with) = (self.path(path), self.path(with));
        self.line(format!("mount --bind {with} {path}"))
    }

    /// Takes a program away, from every folder where pyro may look for it.
    pub(crate) fn without(mut self, world: &World, program: &str) -> Self {
        let nothing = world.folder().join("no program");
        std::fs::write(&nothing, "").expect("an empty file");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        let mut found: Vec<PathBuf> = std::env::split_paths(&path)
            .chain(folders.map(PathBuf::from))
            .filter_map(|folder| folder.join(program).canonicalize().ok())
            .collect();
        found.sort();
        found.dedup();
        for place in found {
            self = self.cover(&place, &nothing);
        }
        self
    }

    /// The command inside. What it leaves on a file system of the namespace goes with it; whoever
    /// wants to see that looks with [`Mounts::then`].
    pub(crate) fn around(&self, command: &Command) -> Command {
        self.wrap(command, "exec \"$@\"")
    }

    /// The command inside, and then a line of shell. The status is the command's.
    pub(crate) fn then(&self, command: &Command, look: &str) -> Command {
        self.wrap(
            command,
            &format!("status=0\n\"$@\" || status=$?\n{look}\nexit $status"),
        )
    }

    /// A path as the script can name it, whatever characters it has.
    fn path(&mut self, path: &Path) -> String {
        self.paths.push(path.to_owned());
        format!("\"${{{}}}\"", self.paths.len())
    }

    fn line(mut self, line: impl AsRef<str>) -> Self {
        self.script += line.as_ref();
        self.script += "\n";
        self
    }

    fn wrap(&self, command: &Command, end: &str) -> Command {
        let mut outer = Command::new("unshare");
        if !geteuid().is_root() {
            outer.args(["--user", "--map-root-user"]);
        }
        outer
            .args(["--mount", "--", "sh", "-c"])
            .arg(format!(
                "{}shift {}\n{end}\n",
                self.script,
                self.paths.len()
            ))
            .arg("mounts")
            .args(&self.paths)
            .stdin(Stdio::null());
        program::around(outer, command)
    }
}
