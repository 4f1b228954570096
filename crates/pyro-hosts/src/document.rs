//! A configuration file as its owner wrote it, in which one entry can be read and set.
//!
//! `json` and `toml` keep everything else as it is, to the byte.

use std::path::Path;

use crate::entry::{Field, Fields};
use crate::error::HostError;
use crate::host::{Format, Host};
use crate::json::Json;
use crate::toml::Toml;

pub(crate) enum Document {
    Json(Json),
    Toml(Toml),
}

/// Why a document cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Broken {
        line: usize,
        column: usize,
        why: String,
    },
    /// There is something else at these keys than a table.
    Misshapen { at: String },
}

impl Fault {
    pub(crate) fn of(self, file: &Path, format: Format) -> HostError {
        let file = file.to_owned();
        match self {
            Self::Broken { line, column, why } => HostError::Broken {
                file,
                format: format.name(),
                line,
                column,
                why,
            },
            Self::Misshapen { at } => HostError::Misshapen { file, at },
        }
    }
}

/// Where one server's entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    /// The keys that lead to the table of servers.
    pub(crate) servers: &'a [&'a str],
    pub(crate) name: &'a str,
}

impl<'a> Spot<'a> {
    pub(crate) fn of(servers: &'a [&'a str], name: &'a str) -> Self {
        Self { servers, name }
    }

    /// The keys in words, up to one of them.
    pub(crate) fn words(&self, depth: usize) -> String {
        let keys = self.servers.iter().copied().chain([self.name]);
        keys.take(depth).collect::<Vec<_>>().join(".")
    }
}

impl Document {
    pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (line, column) = position(bytes, error.valid_up_to());
            Fault::Broken {
                line,
                column,
                why: "this is not UTF-8 text".to_owned(),
            }
        })?;
        Ok(match format {
            Format::Json | Format::Jsonc => Self::Json(Json::parse(text, format)?),
            Format::Toml => Self::Toml(Toml::parse(text)?),
        })
    }

    /// What the entry says; `None` when there is none.
    pub(crate) fn fields(&self, spot: Spot<'_>) -> Result<Option<Fields>, Fault> {
        match self {
            Self::Json(json) => json.fields(spot),
            Self::Toml(toml) => toml.fields(spot),
        }
    }

    /// Sets these values of the entry, which is made when there is none. Others stay; so do
    /// variables that are not named.
    pub(crate) fn set(&mut self, spot: Spot<'_>, fields: &[(&str, Field)]) -> Result<(), Fault> {
        match self {
            Self::Json(json) => json.set(spot, fields),
            Self::Toml(toml) => toml.set(spot, fields),
        }
    }

    /// Empties the entry, for another one in its place.
    pub(crate) fn clear(&mut self, spot: Spot<'_>) -> Result<(), Fault> {
        match self {
            Self::Json(json) => json.clear(spot),
            Self::Toml(toml) => toml.clear(spot),
        }
    }

    /// The projects that have servers of their own in this file of a person.
    pub(crate) fn projects(&self, host: &'static Host) -> Vec<String> {
        // Something of another shape is no table of projects.
        let names = host.by_folder.map(|key| self.names(&[key]));
        names.and_then(Result::ok).unwrap_or_default()
    }

    /// What is in the table that these keys lead to, as in that of servers.
    pub(crate) fn names(&self, servers: &[&str]) -> Result<Vec<String>, Fault> {
        match self {
            Self::Json(json) => json.names(servers),
            Self::Toml(toml) => toml.names(servers),
        }
    }

    /// Takes the entry out, and the table of servers when it held no other.
    pub(crate) fn remove(&mut self, spot: Spot<'_>) -> Result<(), Fault> {
        match self {
            Self::Json(json) => json.remove(spot),
            Self::Toml(toml) => toml.remove(spot),
        }
    }

    /// Whether it says nothing, not even to people.
    pub(crate) fn is_void(&self) -> bool {
        match self {
            Self::Json(json) => json.is_void(),
            Self::Toml(toml) => toml.text().trim().is_empty(),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Json(json) => json.text(),
            Self::Toml(toml) => toml.text(),
        }
    }
}

/// Line and column of a byte, counted from one.
pub(crate) fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n');
    let column = String::from_utf8_lossy(&before[start.map_or(0, |at| at + 1)..])
        .chars()
        .count();
    (line, column + 1)
}
