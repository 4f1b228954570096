//! A configuration file as its owner wrote it, in which one entry can be read and set.
//!
//! `json` and `toml` keep everything else as it is, to the byte.

use crate::document_error::{DocumentError, position};
use crate::entry::{Field, Fields};
use crate::entry_path::EntryPath;
use crate::host::{Format, Host};
use crate::json::Json;
use crate::toml::Toml;

pub(crate) enum Document {
    Json(Json),
    Toml(Toml),
}

impl Document {
    pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Self, DocumentError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (line, column) = position(bytes, error.valid_up_to());
            DocumentError::Broken {
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
    pub(crate) fn fields(&self, path: EntryPath<'_>) -> Result<Option<Fields>, DocumentError> {
        match self {
            Self::Json(json) => json.fields(path),
            Self::Toml(toml) => toml.fields(path),
        }
    }

    /// Sets these values of the entry, which is made when there is none. Others stay; so do
    /// variables that are not named.
    pub(crate) fn set(
        &mut self,
        path: EntryPath<'_>,
        fields: &[(&str, Field)],
    ) -> Result<(), DocumentError> {
        match self {
            Self::Json(json) => json.set(path, fields),
            Self::Toml(toml) => toml.set(path, fields),
        }
    }

    /// Empties the entry, for another one in its place.
    pub(crate) fn clear(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        match self {
            Self::Json(json) => json.clear(path),
            Self::Toml(toml) => toml.clear(path),
        }
    }

    /// The projects that have servers of their own in this file of a person.
    pub(crate) fn projects(&self, host: &'static Host) -> Vec<String> {
        // Something of another shape is no table of projects.
        let names = host.projects_key.map(|key| self.names(&[key]));
        names.and_then(Result::ok).unwrap_or_default()
    }

    /// What is in the table that these keys lead to, as in that of servers.
    pub(crate) fn names(&self, servers: &[&str]) -> Result<Vec<String>, DocumentError> {
        match self {
            Self::Json(json) => json.names(servers),
            Self::Toml(toml) => toml.names(servers),
        }
    }

    /// Takes the entry out, and the table of servers when it held no other.
    pub(crate) fn remove(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        match self {
            Self::Json(json) => json.remove(path),
            Self::Toml(toml) => toml.remove(path),
        }
    }

    /// Whether it says nothing, not even to people.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Json(json) => json.is_empty(),
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
