//! What of a source is left out, as it was asked for and is remembered.

use pyro_api::Error;
use pyro_transfer::import::{Filter, Patterns};
use serde::{Deserialize, Serialize};

/// How many patterns a workspace remembers.
const MOST_PATTERNS: usize = 500;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Selection {
    /// Patterns in the syntax of `.gitignore`, of which the last that matches counts.
    #[serde(default)]
    pub(super) exclude: Vec<String>,
    #[serde(default)]
    pub(super) gitignore: bool,
}

impl Selection {
    /// This, and what is asked for now.
    pub(crate) fn and(
        mut self,
        exclude: &[String],
        gitignore: Option<bool>,
    ) -> Result<Self, Error> {
        for pattern in exclude {
            self.exclude.retain(|known| known != pattern);
            self.exclude.push(pattern.clone());
        }
        self.gitignore = gitignore.unwrap_or(self.gitignore);
        if self.exclude.len() > MOST_PATTERNS {
            return Err(Error::invalid(format!(
                "There are more than {MOST_PATTERNS} exclude patterns"
            ))
            .hint("Write them to a `.pyroignore` file in the source"));
        }
        let mut bad = Vec::new();
        let lines = exclude.iter().map(String::as_str);
        drop(Patterns::read(lines, |line| bad.push(line.to_owned())));
        match bad.first() {
            None => Ok(self),
            Some(line) => Err(Error::invalid(format!("`{line}` is not a valid pattern"))
                .because("patterns have the syntax of `.gitignore`")
                .hint("Examples: `node_modules/`, `*.log`, `/build`, `!keep.log`")),
        }
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            patterns: Patterns::read(self.exclude.iter().map(String::as_str), |_| {}),
            gitignore: self.gitignore,
        }
    }
}
