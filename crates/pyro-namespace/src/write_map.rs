//! The maps of a child, written from outside: by root itself, for anybody else by `newuidmap` and
//! `newgidmap`, which are setuid and hold to `/etc/subuid` and `/etc/subgid`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::process::Command;

use nix::unistd::{Pid, geteuid};

use crate::error::NamespaceError;
use crate::forbidden::{self, Forbidden};
use crate::id_map::{IdMap, Ids};
use crate::tool;

const INSTALL: &str = "sudo apt-get install uidmap";

pub(crate) fn write(map: &IdMap, child: Pid) -> Result<(), NamespaceError> {
    let root = geteuid().is_root();
    for (ids, file, tool) in [
        (&map.users, "uid_map", "newuidmap"),
        (&map.groups, "gid_map", "newgidmap"),
    ] {
        if root {
            write_file(ids, child, file)?;
        } else {
            run(ids, child, tool)?;
        }
    }
    Ok(())
}

/// What a child writes that maps itself, and where. Nobody may have a map of groups written who could
/// leave one by that: some files are forbidden to a group.
pub(crate) fn of_one(map: &IdMap) -> [(CString, Vec<u8>); 3] {
    [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", text(&map.users)),
        (c"/proc/self/gid_map", text(&map.groups)),
    ]
    .map(|(file, text)| (file.to_owned(), text.into_bytes()))
}

fn text(ids: &Ids) -> String {
    ids.lines()
        .iter()
        .filter(|[.., count]| *count > 0)
        .map(|[inside, outside, count]| format!("{inside} {outside} {count}\n"))
        .collect()
}

fn write_file(ids: &Ids, child: Pid, file: &str) -> Result<(), NamespaceError> {
    let text = text(ids);
    // The kernel takes a whole map in one write, or nothing.
    fs::write(format!("/proc/{child}/{file}"), text).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return NamespaceError::Forbidden(forbidden::explain("writing the id map", &error));
        }
        NamespaceError::io("the id map of the namespace could not be written")(error)
    })
}

fn run(ids: &Ids, child: Pid, name: &'static str) -> Result<(), NamespaceError> {
    let mut command = Command::new(name);
    command.arg(child.to_string());
    command.args(ids.lines().iter().flatten().map(u32::to_string));
    let reason = match tool::run(command) {
        Ok((status, _)) if status.success() => return Ok(()),
        Ok((status, said)) if said.is_empty() => format!("`{name}` failed ({status})"),
        Ok((_, said)) => format!("`{name}` failed ({said})"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!("`{name}` is missing"),
        Err(error) => format!("`{name}` could not be run ({error})"),
    };
    Err(NamespaceError::Forbidden(Forbidden::new(reason, INSTALL)))
}
