//! Reads the secrets of a new workspace, all of them, before anything is made.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use pyro_api::values::secrets::{MAX_SECRET_BYTES, check_length};
use pyro_api::values::{SecretPublic, SecretSource, Secrets};
use pyro_api::{Caller, Error};
use pyro_transfer::host_paths::{expand_home, home};
use pyro_wire::redaction::{ENCODED_FROM, REDACTED};
use pyro_wire::secrets::{MAX_TOGETHER, Secret, without_line_end};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::plain::{PlainSecrets, public, secret};
use super::redactor::Redactor;
use crate::core_dumps::NoCoreDumps;
use crate::error::{broke, host_io};
use crate::workspace::host_paths::admit;

/// How long a pipe may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(60);

/// The secrets of a new workspace, with what its record shows of them.
pub(crate) struct SecretsInput {
    opened: PlainSecrets,
    public: Vec<SecretPublic>,
}

impl SecretsInput {
    /// Reads and checks them all.
    pub(crate) async fn read(asked: &Secrets, caller: &Caller) -> Result<Self, Error> {
        let _no_cores = NoCoreDumps::begin();
        let mut found = Vec::new();
        let mut together = 0;
        for given in asked.iter() {
            let name = given.name.as_str();
            let (kind, value) = match &given.source {
                SecretSource::Literal(value) => ("literal", value.as_str().as_bytes().to_vec()),
                SecretSource::File(path) => ("file", from_file(name, path, caller).await?),
            };
            together += value.len();
            found.push((public(name, kind), secret(name, value)));
        }
        if together > MAX_TOGETHER {
            return Err(Error::invalid("The secrets are too long").because(format!(
                "they have {together} bytes together, and the limit is {MAX_TOGETHER}"
            )));
        }
        found.sort_by(|(first, _), (second, _)| first.name.cmp(&second.name));
        let (public, secrets) = found.into_iter().unzip();
        Ok(Self {
            opened: PlainSecrets { secrets, _no_cores },
            public,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.public.is_empty()
    }

    pub(crate) fn public(&self) -> &[SecretPublic] {
        &self.public
    }

    /// What to say of values that are so short, or so common, that taking them out spoils what is
    /// shown. None of them is repeated.
    pub(crate) fn too_short(&self) -> Option<String> {
        let is_short = |secret: &&Secret| {
            let value = without_line_end(secret.value.bytes());
            value.trim_ascii().len() < ENCODED_FROM
        };
        let short = self.opened.secrets.iter().filter(is_short);
        let names: Vec<String> = short.map(|secret| format!("`{}`", secret.name)).collect();
        let subject = match names.as_slice() {
            [] => return None,
            [_] => "the secret {} is",
            _ => "the secrets {} are",
        };
        Some(format!(
            "{} shorter than {ENCODED_FROM} characters: wherever commands print the same \
             characters, even as part of something else, {REDACTED} replaces them, and other forms \
             of them (base64) are not redacted",
            subject.replace("{}", &names.join(", "))
        ))
    }

    /// What there is to take out of texts about the workspace.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::of(Some(&self.opened))
    }

    pub(super) fn opened(&self) -> &[Secret] {
        &self.opened.secrets
    }
}

async fn from_file(name: &str, path: &Path, caller: &Caller) -> Result<Vec<u8>, Error> {
    let input = match path == Path::new("-") {
        true => Some(caller.take_input().ok_or_else(|| {
            Error::invalid(format!(
                "The secret `{name}` cannot be read from standard input"
            ))
            .because("there is no input, or it is a terminal")
            .hint("Pipe the value in, or give a file")
        })?),
        false => None,
    };
    if input.is_none() {
        admit(path, caller).await?;
    }
    let home = home();
    let path = expand_home(path, home.as_deref());
    let owned = name.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&owned, &path, input));
    match timeout(PATIENCE, reading).await {
        Ok(read) => read.unwrap_or_else(|error| Err(broke(&error))),
        Err(_) => Err(
            Error::invalid(format!("The secret `{name}` was not read")).because(format!(
                "its input did not end within {} s",
                PATIENCE.as_secs()
            )),
        ),
    }
}

fn read(name: &str, path: &Path, input: Option<Box<dyn Read + Send>>) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| {
        host_io(
            format!(
                "The secret `{name}` could not be read from {}",
                path.display()
            ),
            &error,
        )
    };
    let from = match input {
        Some(input) => input,
        None => Box::new(open(path).map_err(failed)?),
    };
    // Room for all there may be, as a longer one would leave a copy behind where it was before.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 64));
    from.take(MAX_SECRET_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .map_err(failed)?;
    check_length(name, value.len())?;
    if let Err(error) = std::str::from_utf8(&value) {
        return Err(
            Error::invalid(format!("The secret `{name}` is not UTF-8 text"))
                .because(format!(
                    "byte {} is not part of a character",
                    error.valid_up_to()
                ))
                .hint("Give it in base64 and decode it in the workspace"),
        );
    }
    Ok(value.to_vec())
}

/// Opens a file or a pipe that somebody writes to; a pipe without a writer is not waited for.
fn open(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use serde_json::{Value, json};

    use super::*;

    fn asked(secrets: Value) -> Secrets {
        serde_json::from_value(secrets).unwrap()
    }

    #[tokio::test]
    async fn values_come_from_arguments_files_pipes_and_the_input_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "from a file\n").unwrap();
        let (from, to) = nix::unistd::pipe().unwrap();
        File::from(to).write_all(b"from a pipe").unwrap();
        let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&from));
        let asked = asked(json!([
            { "name": "PIPE", "file_path": pipe },
            { "name": "INPUT", "file_path": "-" },
            { "name": "FILE", "file_path": file },
            { "name": "ARGUMENT", "value": " as it is " },
        ]));
        let caller = Caller::new().with_input(Box::new(Cursor::new("from the input\n")));
        let given = SecretsInput::read(&asked, &caller).await.unwrap();
        let shown: Vec<_> = given
            .public()
            .iter()
            .map(|secret| (secret.name.as_str(), secret.source_kind.as_str()))
            .collect();
        let kinds = [
            ("ARGUMENT", "literal"),
            ("FILE", "file"),
            ("INPUT", "file"),
            ("PIPE", "file"),
        ];
        assert_eq!(shown, kinds);
        let values: Vec<_> = given
            .opened()
            .iter()
            .map(|secret| secret.value.bytes())
            .collect();
        assert_eq!(
            values,
            [
                &b" as it is "[..],
                b"from a file\n",
                b"from the input\n",
                b"from a pipe"
            ]
        );
        // Nobody gives a second input.
        let gone = SecretsInput::read(&asked, &Caller::new()).await;
        assert!(gone.is_err());
    }

    #[tokio::test]
    async fn values_that_would_spoil_the_output_are_named_and_not_repeated() {
        let told = async |secrets: Value| {
            let given = SecretsInput::read(&asked(secrets), &Caller::new()).await;
            given.unwrap().too_short()
        };
        let long = json!({ "name": "LONG", "value": "long enough" });
        assert_eq!(told(json!([long])).await, None);
        let one = told(json!([{ "name": "LETTER", "value": "q" }, long])).await;
        let one = one.unwrap();
        assert!(one.starts_with("the secret `LETTER` is shorter"), "{one}");
        let several = told(json!([
            { "name": "B", "value": "\n\n\n\n\n\n\n\n\n" },
            { "name": "A", "value": "qqqqqqq\n" },
        ]));
        let several = several.await.unwrap();
        assert!(several.starts_with("the secrets `A`, `B` are"), "{several}");
        assert!(!several.contains('q'));
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let asked = asked(json!([{ "name": "PIPE", "file_path": pipe }]));
        let Err(error) = SecretsInput::read(&asked, &Caller::new()).await else {
            panic!("there was something in it");
        };
        assert!(error.error.contains("empty"), "{error:?}");
    }

    #[tokio::test]
    async fn all_together_have_a_limit() {
        let long = "x".repeat(MAX_SECRET_BYTES);
        let item = |index| json!({ "name": format!("N{index}"), "value": long });
        let some: Vec<_> = (0..4).map(item).collect();
        assert!(
            SecretsInput::read(&asked(json!(some)), &Caller::new())
                .await
                .is_ok()
        );
        let more: Vec<_> = (0..5).map(item).collect();
        assert!(
            SecretsInput::read(&asked(json!(more)), &Caller::new())
                .await
                .is_err()
        );
    }
}
