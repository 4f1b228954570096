//! For tests: a `pyro` that does what the hidden command does, and files that belong to the ids of a
//! namespace.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use pyro_namespace::{IdMap, Namespaces, Program, remove_tree};

use super::run_inside;

/// What the `pyro` of tests is told by its script.
const WORDS: &str = "PYRO_TEST_WORDS";

/// The script of one that does what the hidden command does, and counts how often.
pub(crate) const REAL: &str = r#"echo >> HERE/calls
exec 3>&1 >/dev/null
shift
export PYRO_TEST_WORDS="$*"
exec TEST --exact owned_files::testing::as_the_hidden_command --nocapture"#;

/// Not a test by itself.
#[test]
fn as_the_hidden_command() {
    let Ok(words) = env::var(WORDS) else {
        return;
    };
    // SAFETY: the script opened it for this.
    let mut output = unsafe { File::from_raw_fd(3) };
    let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
    run_inside(&words, &mut output);
}

/// Makes `pyro` in a folder, of a script in which `TEST` is this program and `HERE` the folder.
pub(crate) fn set_pyro(here: &Path, script: &str) {
    let test = env::current_exe().unwrap().display().to_string();
    let script = script
        .replace("TEST", &test)
        .replace("HERE", &here.display().to_string())
        .replace(&format!("PYRO_{test}_"), "PYRO_TEST_");
    // By another process: a child of a test beside this one could hold it open, and then it
    // could not be executed.
    let mut cat = Command::new("sh");
    cat.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(here.join("pyro"));
    let mut cat = cat.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = cat.stdin.take().unwrap();
    write!(
        input,
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{script}\n"
    )
    .unwrap();
    drop(input);
    assert!(cat.wait().unwrap().success());
}

/// Runs a script of the shell in a folder, as root of a namespace; returns what it says.
pub(crate) fn in_namespace(folder: &Path, script: &str) -> String {
    let (said, writer) = std::io::pipe().unwrap();
    let mut shell = Program::new("/bin/sh", Namespaces::Files);
    let script = format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -e; cd \"$0\"\n{script}");
    shell.args(["-c", &script]).arg(folder);
    shell.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut shell_of = shell.start(&IdMap::of_caller().unwrap()).unwrap();
    drop(shell);
    let said = std::io::read_to_string(said).unwrap();
    assert!(shell_of.wait().unwrap().success(), "{said}");
    said
}

/// A tree and two layers on it in a folder, made as sandboxes make them: by overlayfs. Top first.
pub(crate) fn chain(folder: &Path) -> [PathBuf; 3] {
    in_namespace(folder, CHAIN);
    ["two/upper", "one/upper", "tree"].map(|name| folder.join(name))
}

const CHAIN: &str = r#"
    mkdir tree merged one one/upper one/work two two/upper two/work
    chmod 755 tree one/upper two/upper
    mkdir -p tree/workspace tree/etc/old tree/usr/share; echo old > tree/etc/old/file
    echo passwd > tree/etc/passwd; echo gone > tree/etc/gone; ln -s /etc/passwd tree/workspace/out
    layer() {
        mount -t overlay overlay -o "userxattr,lowerdir=$1,upperdir=$2/upper,workdir=$2/work" merged
    }
    layer tree one
    rm merged/etc/gone; echo one > merged/workspace/file; ln merged/workspace/file merged/workspace/again
    touch -d @5000000000.25 merged/workspace/file
    mkdir merged/workspace/secret; echo secret > merged/workspace/secret/key
    chown -R 33:44 merged/workspace/secret; chmod 700 merged/workspace/secret
    chmod 4600 merged/workspace/secret/key
    umount merged
    layer one/upper:tree two
    rm -r merged/etc/old; mkdir merged/etc/old; echo new > merged/etc/old/new
    mkdir -p merged/var/lib/pyro/services; echo log > merged/var/lib/pyro/services/log
    chmod 1751 merged
    mkfifo merged/workspace/pipe; chmod 640 merged/etc/passwd
    umount merged
"#;

/// Nobody else can.
pub(crate) fn remove_chain(folder: &Path) {
    for name in ["tree", "one", "two"] {
        let _ = remove_tree(&folder.join(name));
    }
}

/// Plays a test again as a user with subordinate ids.
pub(crate) fn also_as_user(test: &str) {
    if !geteuid().is_root() {
        return;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let user = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let owns = |range: &str| range.split(':').next() == Some(fields[0]);
        let ids = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        ranges.lines().any(owns).then_some(ids)
    });
    let Some((uid, gid)): Option<(u32, u32)> = user else {
        eprintln!("not played as a user: nobody here has subordinate ids");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    let mut cp = Command::new("cp");
    cp.arg(env::current_exe().unwrap()).arg(&copy);
    assert!(cp.status().unwrap().success());
    let mut again = Command::new(&copy);
    again
        .args(["--exact", test, "--nocapture"])
        .current_dir("/")
        .env("HOME", folder.path())
        .uid(uid)
        .gid(gid);
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
