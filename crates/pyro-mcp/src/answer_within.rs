//! How long the hosts that are known wait for an answer, and when one must be given so that it
//! arrives. All of this is data of this file.
//!
//! A host is known by the name that its client gives in `initialize`. None says how long it waits.

use std::ffi::OsString;
use std::time::Duration;

use pyro_api::Error;

/// Seconds after which a call that can go on by itself is answered; `off`: when it has ended. For
/// hosts whose limit somebody has changed.
const ANSWER_WITHIN: &str = "PYRO_MCP_ANSWER_WITHIN";

/// The names that clients give, and how many seconds they wait by default. `None`: as long as it
/// takes.
const CLIENT_TIMEOUTS: &[(&str, Option<u64>)] = &[
    // Claude Code 2.1.330: `MCP_TOOL_TIMEOUT`, by default more than a day.
    ("claude-code", None),
    // Codex 0.169: `tool_timeout_sec`.
    ("codex-mcp-client", Some(300)),
    // OpenCode 1.18.33: `timeout`. News extend it, but nobody has said how far.
    ("opencode", Some(60)),
    // What the official Python client calls itself unless it is told otherwise. By itself it waits for
    // ever, but the OpenAI Agents SDK 0.24, which does not tell it, has it wait for 5 s; progress does
    // not extend that. A command that is lost costs more than an answer that comes early.
    ("mcp", Some(5)),
];

/// What the official TypeScript client waits by default, which is in most hosts.
const DEFAULT_TIMEOUT: Option<u64> = Some(60);

/// When calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerWithin {
    /// As the host has it.
    ClientDefault,
    Set(Option<Duration>),
}

impl AnswerWithin {
    pub(crate) fn from_environment() -> Result<Self, Error> {
        Self::parse(std::env::var_os(ANSWER_WITHIN))
    }

    /// Who writes something here does so because answers came too late: a word that is misspelt is
    /// refused, and nobody has to wonder why nothing changed. Nothing is written by an empty one.
    fn parse(value: Option<OsString>) -> Result<Self, Error> {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(Self::ClientDefault);
        };
        let words = value.to_string_lossy();
        let seconds = match words.trim() {
            "off" => Some(None),
            seconds => seconds
                .parse::<f64>()
                .ok()
                .filter(|seconds| *seconds > 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|time| !time.is_zero())
                .map(Some),
        };
        seconds.map(Self::Set).ok_or_else(|| {
            Error::invalid(format!(
                "{ANSWER_WITHIN} must be a number of seconds above 0, or `off`, not `{words}`"
            ))
            .hint("Correct it in the server's environment, or remove it there")
        })
    }

    /// How long a call may take where no host is known to wait.
    pub(crate) fn set_by_user(self) -> Option<Duration> {
        match self {
            Self::Set(time) => time,
            Self::ClientDefault => None,
        }
    }

    /// How long a call may take, with this client. `None`: as long as it takes.
    pub(crate) fn for_client(self, client: Option<&str>) -> Option<Duration> {
        match self {
            Self::Set(time) => time,
            Self::ClientDefault => client_timeout(client).map(|seconds| {
                let seconds = Duration::from_secs(seconds);
                // What the way there and back may take, on a busy host most of all.
                let margin = (seconds / 10).clamp(Duration::from_secs(1), Duration::from_secs(10));
                seconds - margin
            }),
        }
    }
}

fn client_timeout(client: Option<&str>) -> Option<u64> {
    let known = client.and_then(|client| CLIENT_TIMEOUTS.iter().find(|(name, _)| *name == client));
    known.map_or(DEFAULT_TIMEOUT, |(_, client_timeout)| *client_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_before_the_limit_of_its_host() {
        let within = |client| {
            AnswerWithin::ClientDefault
                .for_client(client)
                .map(|time| time.as_secs())
        };
        assert_eq!(within(Some("mcp")), Some(4));
        assert_eq!(within(Some("opencode")), Some(54));
        assert_eq!(within(Some("codex-mcp-client")), Some(290));
        assert_eq!(within(Some("claude-code")), None);
        assert_eq!(within(Some("something new")), Some(54));
        assert_eq!(within(None), Some(54));
    }

    #[test]
    fn what_a_person_says_goes_before_what_is_known() {
        let for_client = |value: &str| {
            AnswerWithin::parse(Some(value.into()))
                .unwrap()
                .for_client(Some("mcp"))
        };
        assert_eq!(for_client("off"), None);
        let set_by_user = |value: Option<&str>| {
            AnswerWithin::parse(value.map(Into::into))
                .unwrap()
                .set_by_user()
        };
        assert_eq!(set_by_user(Some("2.5")), Some(Duration::from_millis(2500)));
        assert_eq!([set_by_user(None), set_by_user(Some("off"))], [None, None]);
        assert_eq!(for_client(" 2.5 "), Some(Duration::from_millis(2500)));
        assert_eq!(for_client(""), Some(Duration::from_secs(4)));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for nonsense in ["0", "-1", "five", "nan", "inf", "1e-300", "Off", " "] {
            let error = AnswerWithin::parse(Some(nonsense.into())).unwrap_err();
            let said = format!("not `{nonsense}`");
            assert!(error.error.contains(&said), "{error:?}");
        }
    }
}
