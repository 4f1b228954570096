//! What must not be in the words of a workspace's records, results and errors.

use pyro_api::values::{CommandLine, Labels, Readiness};
use pyro_api::{Error, ErrorCode};
use pyro_wire::redaction::Redaction;

use super::plain::PlainSecrets;
use crate::core_dumps::NoCoreDumps;
use crate::engine::Engine;
use crate::store::StoredWorkspace;

/// The values of a workspace's secrets, as what to take out.
pub(crate) struct Redactor {
    redaction: Redaction,
    _no_cores: Option<NoCoreDumps>,
}

impl Redactor {
    pub(super) fn of(opened: Option<&PlainSecrets>) -> Self {
        let values = opened.map(|opened| &opened.secrets).into_iter().flatten();
        Self {
            redaction: Redaction::of(values.map(|secret| secret.value.bytes())),
            _no_cores: opened.map(|_| NoCoreDumps::begin()),
        }
    }

    /// The text without values.
    pub(crate) fn redact(&self, text: String) -> String {
        match self.redaction.is_empty() {
            true => text,
            false => self.redaction.text(&text).into_owned(),
        }
    }

    /// The command as it is shown, without values. Only for eyes: what runs is the one that was
    /// given.
    pub(crate) fn redact_command(&self, command: &CommandLine) -> String {
        let command = match command {
            // Quoting would take a value with a quote in it apart.
            CommandLine::Program(words) if !self.redaction.is_empty() => {
                let clean = |word: &Vec<u8>| {
                    self.redact(String::from_utf8_lossy(word).into_owned())
                        .into_bytes()
                };
                &CommandLine::Program(words.iter().map(clean).collect())
            }
            command => command,
        };
        self.redact(command.to_string())
    }

    /// What a service is looked at for, as it is shown.
    pub(crate) fn redact_readiness(&self, readiness: Readiness) -> Readiness {
        readiness.reworded(|text| self.redact(text))
    }

    /// The error without values.
    pub(crate) fn redact_error(&self, mut error: Error) -> Error {
        error.error = self.redact(error.error);
        error.causes = error
            .causes
            .into_iter()
            .map(|why| self.redact(why))
            .collect();
        error.hint = error.hint.map(|hint| self.redact(hint));
        error
    }

    /// Refuses a workspace's name or labels that hold a value.
    pub(crate) fn check_names(&self, name: Option<&str>, labels: &Labels) -> Result<(), Error> {
        if let Some(name) = name {
            self.check_name("workspace's name", name)?;
        }
        labels.iter().try_for_each(|(key, value)| {
            self.check_name("label", key.as_str())?;
            self.check_name("label", value)
        })
    }

    /// Refuses a name that holds a value. Names are kept as they are, as things are found by them.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<(), Error> {
        if self.redaction.is_empty() || self.redaction.text(name) == name {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("The {what} contains the value of a secret of the workspace"),
        )
        .because("it would be stored and shown unredacted")
        .hint("Choose another"))
    }
}

impl Engine {
    /// What there is to take out of texts about a workspace.
    pub(crate) fn redactor(&self, stored: &StoredWorkspace) -> Result<Redactor, Error> {
        Ok(Redactor::of(self.unseal_secrets(stored)?.as_ref()))
    }

    /// An error about a workspace, without values; where they cannot be told, why that is instead.
    pub(crate) fn redacted_error(&self, stored: &StoredWorkspace, error: Error) -> Error {
        match self.redactor(stored) {
            Ok(redactor) => redactor.redact_error(error),
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_api::values::ReadinessKind;

    use super::*;

    fn redactor() -> Redactor {
        Redactor {
            redaction: Redaction::of(["it's \"so\" & so"]),
            _no_cores: None,
        }
    }

    fn program(words: &[&str]) -> CommandLine {
        CommandLine::Program(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_command_is_shown_without_values_however_it_is_quoted() {
        let shown = |command| redactor().redact_command(&command);
        assert_eq!(
            shown(program(&["login", "--password=it's \"so\" & so", "a b"])),
            "login '--password=[REDACTED]' 'a b'"
        );
        // As words of their own they are what one would type.
        let split = CommandLine::Shell(b"echo it's \"so\" & so".to_vec());
        assert_eq!(shown(split), "echo [REDACTED]");
        let none = Redactor::of(None);
        assert_eq!(
            none.redact_command(&program(&["a", "it's"])),
            "a 'it'\"'\"'s'"
        );
    }

    #[test]
    fn what_a_service_is_looked_at_for_is_shown_without_values() {
        let url = "http://localhost/?key=it%27s%20%22so%22%20%26%20so";
        let shown = redactor().redact_readiness(Readiness::of(ReadinessKind::Http, url.into()));
        let wanted = Readiness::of(
            ReadinessKind::Http,
            "http://localhost/?key=[REDACTED]".into(),
        );
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_name_that_holds_a_value_is_refused_without_repeating_it() {
        let named = |name| redactor().check_name("name", name);
        assert!(named("it's so").is_ok());
        let refused = named("x it's \"so\" & so").unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
        assert!(!format!("{refused:?}").contains("so\\\""), "{refused:?}");
    }
}
