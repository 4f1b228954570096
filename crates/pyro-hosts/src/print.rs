//! The entry as text, for a person to paste.

use std::path::PathBuf;

use pyro_api::{Report, Text};
use serde::Serialize;

use crate::document::{Document, Spot};
use crate::entry::Entry;
use crate::error::HostError;
use crate::host::Host;
use crate::launch;
use crate::place::{self, Scope, Surroundings};
use crate::wish::Wish;

#[derive(Clone, Debug, Serialize)]
pub struct Printed {
    pub host: &'static str,
    #[serde(skip)]
    pub title: &'static str,
    pub name: String,
    /// The file it belongs into, where pyro knows it.
    pub config: Option<PathBuf>,
    pub format: &'static str,
    pub entry: Entry,
    /// A whole document that holds nothing but the entry.
    pub text: String,
}

/// Makes the document. Reads and writes no file.
pub fn print_config(
    host: &'static Host,
    wish: &Wish,
    around: &Surroundings,
) -> Result<Printed, HostError> {
    let name = wish.name()?;
    let place = match (&wish.config, wish.scope) {
        (Some(file), _) => Some(place::named(file, around)),
        (None, Some(scope)) => Some(place::of_scope(host, scope, around)?),
        // Without a home there is no path to show, and still something to paste.
        (None, None) => place::of_scope(host, Scope::User, around).ok(),
    };
    let scope = place.as_ref().and_then(|place| place.scope);
    let entry = launch::entry(host, wish, scope, around)?;
    let mut document = match Document::parse(b"", host.format) {
        Ok(document) => document,
        Err(fault) => return Err(fault.of(host.id.as_ref(), host.format)),
    };
    document
        .set(Spot::of(host.servers, name), &entry.fields(host.shape))
        .map_err(|fault| fault.of(host.id.as_ref(), host.format))?;
    Ok(Printed {
        host: host.id,
        title: host.title,
        name: name.to_owned(),
        config: place.map(|place| place.file),
        format: host.format.name(),
        entry,
        text: document.text(),
    })
}

impl Report for Printed {
    fn report(&self, text: &mut Text) {
        text.out.extend_from_slice(self.text.as_bytes());
        match &self.config {
            Some(file) => text.err(format!(
                "[next] this belongs into {}; `pyro host connect {}` puts it there",
                file.display(),
                self.host
            )),
            None => text.err("[next] this is how most hosts write it; see the host's own manual"),
        }
    }
}
