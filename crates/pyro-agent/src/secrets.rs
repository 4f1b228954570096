//! The secrets of this guest: files in memory that commands can read, variables for the commands
//! that ask for them, and what must be taken out of everything that is shown or kept.
//!
//! They arrive when the guest is set up and before anything runs in it. They never touch its disk:
//! the folder is a file system of its own in the guest's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use pyro_wire::Bytes;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::redaction::{Redaction, Redactor};
use pyro_wire::secrets::{
    InstallSecrets, MAX_SECRETS, MAX_TOGETHER, MAX_VALUE, SecretValue, is_name, without_line_end,
};

use crate::backend::Backend;
use crate::lifecycle::Lifecycle;
use crate::lock::lock;

/// Where commands find them, each in a file of its name.
pub(crate) const FOLDER: &str = "/run/pyro-secrets";

/// The secrets that commands may ask for.
#[derive(Default)]
pub(crate) struct Secrets(Mutex<Installed>);

#[derive(Default)]
struct Installed {
    values: BTreeMap<String, SecretValue>,
    redaction: Redaction,
}

/// Puts the given secrets in place of those there were.
pub(crate) fn install(
    secrets: &Secrets,
    backend: &Backend,
    lifecycle: &Lifecycle,
    request: InstallSecrets,
) -> Result<(), Fault> {
    let refused = |words: &str| Fault::new(FaultCode::Refused, words);
    if !backend.is_guest() {
        return Err(refused("a process of the host keeps no secrets"));
    }
    lifecycle.ready_for("secrets")?;
    let values = validate(request)?;
    write_all(Path::new(FOLDER), &values).map_err(|error| {
        Fault::new(
            FaultCode::GuestIo,
            format!("the secrets could not be put into {FOLDER}: {error}"),
        )
    })?;
    secrets.set(values);
    Ok(())
}

impl Secrets {
    /// The variables by which a command that asks for these secrets gets them, each without a line
    /// end at its end: what a program does with a password rarely goes well with one.
    pub(crate) fn environment(
        &self,
        wanted: &[(String, String)],
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let installed = lock(&self.0);
        let refused = |words: String| Fault::new(FaultCode::Refused, words);
        let mut taken = BTreeSet::new();
        wanted
            .iter()
            .map(|(secret, variable)| {
                let Some(value) = installed.values.get(secret) else {
                    let known: Vec<&str> = installed.values.keys().map(String::as_str).collect();
                    return Err(
                        refused(format!("there is no secret `{secret}`")).with_detail([
                            match known.is_empty() {
                                true => {
                                    "the workspace has none; secrets are set when it is created"
                                        .to_owned()
                                }
                                false => format!("the workspace has {}", known.join(", ")),
                            },
                        ]),
                    );
                };
                if !is_name(variable) {
                    return Err(refused(format!(
                        "`{variable}` is not a valid variable name"
                    )));
                }
                if !taken.insert(variable) {
                    return Err(refused(format!(
                        "two secrets are requested in the variable `{variable}`"
                    )));
                }
                let value = without_line_end(value.bytes());
                if value.contains(&0) {
                    return Err(refused(format!(
                        "the secret `{secret}` contains a NUL byte, which a variable cannot: read \
                         {FOLDER}/{secret}"
                    )));
                }
                Ok((variable.clone().into_bytes().into(), value.to_vec().into()))
            })
            .collect()
    }

    /// What takes their values out of one stream.
    pub(crate) fn redactor(&self) -> Redactor {
        lock(&self.0).redaction.redactor()
    }

    /// A text that is there as a whole, without their values.
    pub(crate) fn redact(&self, text: &str) -> String {
        lock(&self.0).redaction.text(text).into_owned()
    }

    /// Holds these, for tests of what is done with them.
    #[cfg(test)]
    pub(crate) fn hold(&self, secrets: &[(&str, &str)]) {
        let value = |(name, value): &(&str, &str)| {
            let value = SecretValue::new(value.as_bytes().to_vec());
            ((*name).to_owned(), value)
        };
        self.set(secrets.iter().map(value).collect());
    }

    fn set(&self, values: BTreeMap<String, SecretValue>) {
        *lock(&self.0) = Installed {
            redaction: Redaction::of(values.values().map(SecretValue::bytes)),
            values,
        };
    }
}

/// What came over the channel is not trusted: names become file names.
fn validate(request: InstallSecrets) -> Result<BTreeMap<String, SecretValue>, Fault> {
    let refused = |words: String| Err(Fault::new(FaultCode::Refused, words));
    let mut values = BTreeMap::new();
    let mut together = 0;
    for secret in request.secrets {
        let length = secret.value.bytes().len();
        together += length;
        if !is_name(&secret.name) {
            return refused("the name of a secret is not valid".into());
        }
        if length == 0 || length > MAX_VALUE {
            return refused(format!(
                "the secret `{}` must have 1 to {MAX_VALUE} bytes, not {length}",
                secret.name
            ));
        }
        if values.insert(secret.name.clone(), secret.value).is_some() {
            return refused(format!("the secret `{}` is given twice", secret.name));
        }
    }
    if values.len() > MAX_SECRETS || together > MAX_TOGETHER {
        return refused(format!(
            "the limit is {MAX_SECRETS} secrets of {MAX_TOGETHER} bytes together"
        ));
    }
    Ok(values)
}

/// Makes the folder hold these files and no others.
fn write_all(folder: &Path, values: &BTreeMap<String, SecretValue>) -> io::Result<()> {
    if values.is_empty() && !folder.exists() {
        return Ok(());
    }
    mount_folder(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_kept = entry
            .file_name()
            .to_str()
            .is_some_and(|name| values.contains_key(name));
        if !is_kept {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, value) in values {
        write(folder, name, value.bytes())?;
    }
    Ok(())
}

/// A file system in memory, for nothing else.
fn mount_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let is_mounted = || -> io::Result<bool> {
        let own = fs::symlink_metadata(folder)?;
        let above = fs::symlink_metadata(folder.parent().unwrap_or(folder))?;
        use std::os::unix::fs::MetadataExt;
        Ok(own.is_dir() && own.dev() != above.dev())
    };
    if !is_mounted()? {
        mount(
            Some("pyro-secrets"),
            folder,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some("mode=700,size=1m"),
        )?;
    }
    // Whatever was there before: a value is written into memory or not at all.
    if statfs(folder)?.filesystem_type() != TMPFS_MAGIC {
        return Err(io::Error::other("it is not in memory"));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// In one step, so that nobody reads half a value.
fn write(folder: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    // No name of a secret has a dot.
    let unfinished: PathBuf = folder.join(format!("{name}.new"));
    let _ = fs::remove_file(&unfinished);
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&unfinished)?;
    file.write_all(value)?;
    fs::rename(unfinished, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_wire::secrets::Secret;

    fn given(secrets: &[(&str, &str)]) -> InstallSecrets {
        let secret = |(name, value): &(&str, &str)| Secret {
            name: (*name).to_owned(),
            value: SecretValue::new(value.as_bytes().to_vec()),
        };
        InstallSecrets {
            secrets: secrets.iter().map(secret).collect(),
        }
    }

    fn wanted(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(secret, variable): &(&str, &str)| ((*secret).into(), (*variable).into());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_no_engine_sends_is_refused() {
        let long = "x".repeat(MAX_VALUE);
        for bad in [
            &[("../A", "x")][..],
            &[("A", "")],
            &[("A", "x"), ("A", "y")],
            &[("A", &format!("{long}x"))],
            &[
                ("A", &long),
                ("B", &long),
                ("C", &long),
                ("D", &long),
                ("E", "x"),
            ],
        ] {
            let fault = validate(given(bad)).unwrap_err();
            assert_eq!(fault.code, FaultCode::Refused);
            assert!(fault.message.len() < 100, "{fault}");
        }
        assert_eq!(validate(given(&[("A", &long)])).unwrap().len(), 1);
    }

    #[test]
    fn commands_get_what_they_ask_for_without_its_line_end() {
        let secrets = Secrets::default();
        secrets.set(validate(given(&[("TOKEN", "hunter2\n"), ("BYTES", "a\0b")])).unwrap());
        let pairs = secrets.environment(&wanted(&[("TOKEN", "T"), ("TOKEN", "U")]));
        let pair = |name: &str| {
            let value = b"hunter2".to_vec().into();
            (name.as_bytes().to_vec().into(), value)
        };
        assert_eq!(pairs.unwrap(), [pair("T"), pair("U")]);
        let unknown = secrets.environment(&wanted(&[("OTHER", "T")])).unwrap_err();
        assert_eq!(unknown.code, FaultCode::Refused);
        assert_eq!(unknown.detail, ["the workspace has BYTES, TOKEN"]);
        for bad in [
            &[("TOKEN", "A=B")][..],
            &[("BYTES", "B")],
            &[("TOKEN", "T"), ("BYTES", "T")],
        ] {
            let fault = secrets.environment(&wanted(bad)).unwrap_err();
            assert_eq!(fault.code, FaultCode::Refused);
            assert!(!fault.to_string().contains("hunter2"));
        }
        assert_eq!(&*secrets.redactor().push(b"<hunter2>"), b"<[REDACTED]>");
    }

    #[test]
    fn a_process_of_the_host_and_a_guest_that_waits_take_none() {
        for backend in [
            Backend::Vm,
            Backend::Process {
                folder: "/nowhere".into(),
            },
        ] {
            let (secrets, lifecycle) = (Secrets::default(), Lifecycle::new(&backend));
            let secret = given(&[("A", "x")]);
            let fault = install(&secrets, &backend, &lifecycle, secret).unwrap_err();
            assert_eq!(fault.code, FaultCode::Refused);
            assert!(secrets.environment(&wanted(&[("A", "A")])).is_err());
        }
    }
}
