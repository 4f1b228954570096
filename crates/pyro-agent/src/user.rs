//! Who runs a command: a user of the guest's own `/etc/passwd`, with the groups of its `/etc/group`, or
//! numbers that need no entry there. The rules are those of containers: an image's `User` means the
//! same here.
//!
//! Only these two files are asked. The agent is one static program, and whatever else tells a system of
//! its users (a directory, a plugin of the C library) is not there for it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use nix::unistd::{Gid, Uid};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::user::{id, parts};

use crate::backend::Backend;
use crate::command::SHELL;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

const ROOT: &str = "root";
const ROOTS_HOME: &str = "/root";

/// Nobody has larger ones. What is longer is read up to here.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// The host lends so many ids to the disk of a sandbox.
const SANDBOX_IDS: u32 = 65_536;

/// How many groups the kernel gives a process.
const MOST_GROUPS: usize = 65_536;

/// How many names an error tells.
const NAMED: usize = 8;

/// The first id of people, and of what is made for an application; and the one of `nobody`.
const PEOPLE: u32 = 1000;
const NOBODY: u32 = 65_534;

/// A user that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Absent for a number without an entry.
    pub(crate) name: Option<OsString>,
    pub(crate) credentials: Credentials,
    pub(crate) home: OsString,
    pub(crate) shell: OsString,
}

/// What the kernel knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: libc::uid_t,
    pub(crate) gid: libc::gid_t,
    /// The supplementary groups.
    pub(crate) groups: Vec<libc::gid_t>,
}

impl Credentials {
    /// As files are given to somebody.
    pub(crate) fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("there is no user `{name}` in the guest's {PASSWD}{}", others(.there))]
    NoUser { name: String, there: Vec<String> },
    #[error("there is no group `{name}` in the guest's {GROUP}{}", others(.there))]
    NoGroup { name: String, there: Vec<String> },
    #[error("a sandbox has the ids 0 to {}, and {id} is none of them", SANDBOX_IDS - 1)]
    NoSuchId { id: u32 },
    #[error("commands on this host run as the user who runs pyro")]
    OnHost,
}

impl From<UserError> for Fault {
    fn from(error: UserError) -> Self {
        Self::new(FaultCode::UnknownUser, error.to_string())
    }
}

fn others(there: &[String]) -> String {
    match there {
        [] => ", which is empty or missing; a number needs no entry there".to_owned(),
        [first, rest @ ..] => {
            let mut words = format!("; it has {first}");
            for name in rest.iter().take(NAMED - 1) {
                words.push_str(", ");
                words.push_str(name);
            }
            if rest.len() >= NAMED {
                words.push_str(" and others");
            }
            words
        }
    }
}

/// Finds a user that was asked for.
pub(crate) fn find(backend: &Backend, asked: &[u8]) -> Result<User, UserError> {
    if !backend.is_guest() {
        return Err(UserError::OnHost);
    }
    let user = find_in(asked, &read(PASSWD), &read(GROUP))?;
    let Credentials { uid, gid, .. } = user.credentials;
    let is_sandbox = matches!(backend, Backend::Sandbox | Backend::Files);
    match [uid, gid].into_iter().find(|id| *id >= SANDBOX_IDS) {
        Some(id) if is_sandbox => Err(UserError::NoSuchId { id }),
        _ => Ok(user),
    }
}

/// A file that is missing, or no file, has no entries.
fn read(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new()
        .read(true)
        // An image may have a pipe there.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    if let Ok(file) = opened {
        let _ = file.take(FILE_LIMIT).read_to_end(&mut bytes);
    }
    bytes
}

fn find_in(asked: &[u8], passwd: &[u8], group: &[u8]) -> Result<User, UserError> {
    let (user, group_asked) = parts(asked);
    // Nothing before the colon is root, as it is in an image's `User`.
    let user = if user.is_empty() { &b"0"[..] } else { user };
    // Every system has root, also one without files about it.
    let number = id(user).or_else(|| (user == ROOT.as_bytes()).then_some(0));
    let entries = || lines(passwd).filter_map(Entry::of);
    let entry = entries()
        .find(|entry| entry.name == user)
        .or_else(|| number.and_then(|number| entries().find(|entry| entry.uid == number)));
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(number)) => number,
        (None, None) => {
            return Err(UserError::NoUser {
                name: String::from_utf8_lossy(user).into_owned(),
                there: users_there(entries()),
            });
        }
    };
    let (gid, groups) = match (group_asked, &entry) {
        // Whoever names a group gets that one and no other.
        (Some(asked), _) => (group_of(asked, group)?, Vec::new()),
        (None, Some(entry)) => (entry.gid, groups_of(entry.name, group)),
        (None, None) => (0, Vec::new()),
    };
    let text = |bytes: Option<&[u8]>, other: &str| match bytes {
        Some(bytes) if !bytes.is_empty() => OsString::from_vec(bytes.to_vec()),
        _ => OsString::from(other),
    };
    let entry = entry.as_ref();
    let is_root = uid == 0 && entry.is_none();
    let name = entry.map(|entry| OsString::from_vec(entry.name.to_vec()));
    Ok(User {
        name: name.or_else(|| is_root.then(|| ROOT.into())),
        credentials: Credentials { uid, gid, groups },
        home: text(
            entry.map(|entry| entry.home),
            if is_root { ROOTS_HOME } else { "/" },
        ),
        shell: text(entry.map(|entry| entry.shell), SHELL),
    })
}

/// A line of `/etc/passwd`.
struct Entry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `name:password:uid:gid:comment:home:shell`, of which the last three may be missing.
    fn of(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
        Some(Self {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or_default(),
            shell: fields.next().unwrap_or_default(),
        })
    }
}

/// A line of `/etc/group`: `name:password:gid:user,user`.
fn group_entry(line: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = id(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

fn group_of(asked: &[u8], group: &[u8]) -> Result<u32, UserError> {
    let entries = || lines(group).filter_map(group_entry);
    let named = entries().find(|(name, ..)| *name == asked);
    if let Some((_, gid, _)) = named {
        return Ok(gid);
    }
    id(asked).ok_or_else(|| UserError::NoGroup {
        name: String::from_utf8_lossy(asked).into_owned(),
        there: entries().map(|(name, ..)| shown(name)).collect(),
    })
}

fn groups_of(user: &[u8], group: &[u8]) -> Vec<libc::gid_t> {
    let is_member = |members: &[u8]| members.split(|byte| *byte == b',').any(|name| name == user);
    let entries = lines(group).filter_map(group_entry);
    let mut groups: Vec<_> = entries
        .filter(|(.., members)| is_member(members))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups.truncate(MOST_GROUPS);
    groups
}

/// Root and what was made for people come before what a distribution needs for itself.
fn users_there<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<String> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|entry| match entry.uid {
        0 => 0,
        PEOPLE.. if entry.uid != NOBODY => 1,
        _ => 2,
    });
    entries.iter().map(|entry| shown(entry.name)).collect()
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
        # a comment:x:5:5::/:/\n\
        broken:x:many:1::/:/\n\
        app:x:1000:1001:An App,,,:/home/app:/bin/zsh\n\
        1001:x:7:7::/seven:\n\
        short:x:8:8\n";
    const GROUP: &[u8] = b"root:x:0:\ndaemon:x:1:app\nstaff:x:50:daemon,app,\napp:x:1001:\n+\n";

    fn found(asked: &str) -> (Option<String>, u32, u32, Vec<u32>, String, String) {
        let user = find_in(asked.as_bytes(), PASSWD, GROUP).unwrap();
        let text = |text: OsString| text.into_string().unwrap();
        let Credentials { uid, gid, groups } = user.credentials;
        let (home, shell) = (text(user.home), text(user.shell));
        (user.name.map(text), uid, gid, groups, home, shell)
    }

    #[test]
    fn a_name_comes_with_its_groups_home_and_shell() {
        let name = |name: &str| Some(name.to_owned());
        let app = |gid, groups: &[u32]| {
            let (home, shell) = ("/home/app".to_owned(), "/bin/zsh".to_owned());
            (name("app"), 1000, gid, groups.to_vec(), home, shell)
        };
        assert_eq!(found("app"), app(1001, &[1, 50]));
        assert_eq!(found("1000"), app(1001, &[1, 50]));
        assert_eq!(found("app:staff"), app(50, &[]));
        assert_eq!(found("1000:4711"), app(4711, &[]));
        let root = || {
            (
                name("root"),
                0,
                0,
                vec![],
                "/root".into(),
                "/bin/bash".into(),
            )
        };
        assert_eq!((found(""), found("root:")), (root(), root()));
        // A name may look like a number, and is one only where no name is meant.
        let seven = (
            name("1001"),
            7,
            7,
            vec![],
            "/seven".into(),
            "/bin/sh".into(),
        );
        assert_eq!(found("1001"), seven);
        let short = (name("short"), 8, 8, vec![], "/".into(), "/bin/sh".into());
        assert_eq!(found("short"), short);
    }

    #[test]
    fn a_number_needs_no_entry() {
        let number = |uid, gid| (None, uid, gid, Vec::new(), "/".into(), "/bin/sh".into());
        assert_eq!(found("4711"), number(4711, 0));
        assert_eq!(found("4711:12"), number(4711, 12));
        for root in ["root", "0", "", "root:0"] {
            let root = find_in(root.as_bytes(), b"", b"").unwrap();
            assert_eq!((root.credentials.uid, root.credentials.gid), (0, 0));
            let (name, home) = (root.name.unwrap(), root.home);
            assert_eq!((name, home), ("root".into(), "/root".into()));
        }
        let empty = find_in(b"12:13", b"", b"").unwrap();
        assert_eq!((empty.credentials.uid, empty.credentials.gid), (12, 13));
    }

    #[test]
    fn who_is_not_there_is_told_with_who_is() {
        let why = |asked: &str, passwd: &[u8], group: &[u8]| {
            find_in(asked.as_bytes(), passwd, group)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            why("ap", PASSWD, GROUP),
            "there is no user `ap` in the guest's /etc/passwd; it has root, app, daemon, 1001, short"
        );
        assert_eq!(
            why("app:wheel", PASSWD, GROUP),
            "there is no group `wheel` in the guest's /etc/group; it has root, daemon, staff, app"
        );
        assert_eq!(
            why("app", b"", b""),
            "there is no user `app` in the guest's /etc/passwd, which is empty or missing; a number \
             needs no entry there"
        );
        let many: String = (0..20).map(|at| format!("u{at}:x:{at}:1\n")).collect();
        let told = why("-1", many.as_bytes(), b"");
        assert!(told.ends_with("u6, u7 and others"), "{told}");
    }

    #[test]
    fn nobody_is_chosen_on_the_host() {
        let backend = Backend::Process { folder: "/".into() };
        assert_eq!(find(&backend, b"root"), Err(UserError::OnHost));
        let beyond = find(&Backend::Sandbox, b"65536");
        assert_eq!(beyond, Err(UserError::NoSuchId { id: 65_536 }));
        assert!(find(&Backend::Vm, b"65536").is_ok());
    }
}
