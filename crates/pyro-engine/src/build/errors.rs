//! What goes wrong with builds, in words.

use pyro_api::values::NetworkPolicy;
use pyro_api::{Error, ErrorCode};
use pyro_build::BuildError;

/// The file cannot be built, whatever is done.
pub(super) fn build_refused(file: &str, error: &BuildError) -> Error {
    let (code, hint) = match error {
        BuildError::Malformed { .. } => (ErrorCode::InvalidArgument, "Correct that line"),
        BuildError::Unsupported { .. } => (
            ErrorCode::Unsupported,
            "Write it without that; docs/environments.md lists what pyro builds",
        ),
        BuildError::NotFound { .. } => (
            ErrorCode::InvalidArgument,
            "Paths begin at the context, the folder that is given after the name",
        ),
        BuildError::NotYet { .. } => (
            ErrorCode::InvalidArgument,
            "A stage uses those above it: put it below the one that it needs",
        ),
        BuildError::NoSuchStage { .. } => (
            ErrorCode::InvalidArgument,
            "Give one of these as `--target` (`target`)",
        ),
        BuildError::Context { .. } => (
            ErrorCode::HostIo,
            "Make it readable, or leave it out in `.dockerignore`",
        ),
        BuildError::ContextTooLarge { .. } => (
            ErrorCode::InvalidArgument,
            "Leave out what is not needed in `.dockerignore`",
        ),
        BuildError::Changed { .. } => {
            (ErrorCode::Conflict, "Build again when nothing writes to it")
        }
        BuildError::Devcontainer { .. } => (
            ErrorCode::InvalidArgument,
            "pyro reads `image`, or `build` with `dockerfile`, and `postCreateCommand`",
        ),
    };
    Error::new(code, format!("`{file}` cannot be built"))
        .caused_by(error)
        .hint(hint)
}

pub(super) fn name_is_taken(name: &str, source: &str) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("There is an environment `{name}` already"),
    )
    .because(format!("it was not built: {source}"))
    .hint("Give another name, or `--replace` (`replace`) to take its place")
}

pub(super) fn name_is_a_persons(name: &str) -> Error {
    Error::new(
        ErrorCode::Conflict,
        format!("There is an environment `{name}` already"),
    )
    .because("models may not replace environments: what is there may be a person's")
    .hint("Give another name, such as one with another tag")
}

/// A step that was done and did not succeed.
pub(super) struct FailedStep<'a> {
    pub(super) number: usize,
    pub(super) of: usize,
    pub(super) place: &'a pyro_build::Place,
    pub(super) text: &'a str,
}

impl FailedStep<'_> {
    pub(super) fn what(&self) -> String {
        format!(
            "Step {}/{} failed: {}: {}",
            self.number, self.of, self.place, self.text
        )
    }

    /// Of a command, with the end of what it said.
    pub(super) fn command_failed(&self, why: &str, output: &str, network: NetworkPolicy) -> Error {
        let mut error = Error::new(ErrorCode::BuildFailed, self.what()).because(why);
        let output = output.trim_end();
        if !output.is_empty() {
            error = error.because(format!("the end of its output:\n{output}"));
        }
        match !network.has_network() && wants_a_network(output) {
            true => error.hint(
                "Steps have no network unless you allow one: `--network-policy egress` \
                 (`network_policy`)",
            ),
            false => error,
        }
    }

    /// Of something else: the error, with the step before it.
    pub(super) fn because_of(&self, error: Error) -> Error {
        let code = match error.code {
            ErrorCode::InvalidArgument => ErrorCode::BuildFailed,
            code => code,
        };
        let told = Error::new(code, self.what()).because(&error.error);
        let told = error.causes.into_iter().fold(told, Error::because);
        match error.hint {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

/// Whether a command gave up for want of a network, as the tools say it that people install with.
fn wants_a_network(output: &str) -> bool {
    const WORDS: [&str; 9] = [
        "Temporary failure resolving",
        "Temporary failure in name resolution",
        "Could not resolve",
        "Name or service not known",
        "Network is unreachable",
        "getaddrinfo",
        "bad address",
        "unable to resolve host",
        "dial tcp",
    ];
    WORDS.iter().any(|words| output.contains(words))
}

#[cfg(test)]
mod tests {
    use pyro_build::Place;

    use super::*;

    #[test]
    fn a_step_without_a_network_is_told_of_it() {
        let place = Place {
            line: 7,
            instruction: "RUN".to_owned(),
        };
        let step = FailedStep {
            number: 2,
            of: 5,
            place: &place,
            text: "RUN apt-get update",
        };
        let output = "Err:1 http://x\n  Temporary failure resolving 'deb.debian.org'\n";
        let told = step.command_failed("it exited with status 100", output, NetworkPolicy::Off);
        assert_eq!(
            told.error,
            "Step 2/5 failed: line 7 (RUN): RUN apt-get update"
        );
        assert!(told.hint.unwrap().contains("--network-policy egress"));
        let told = step.command_failed("it exited with status 1", output, NetworkPolicy::Egress);
        assert!(told.hint.is_none() && told.causes.len() == 2);
        let told = step.command_failed("it exited with status 1", "\n", NetworkPolicy::Off);
        assert!(told.hint.is_none() && told.causes.len() == 1);
    }
}
