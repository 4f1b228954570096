//! The entry as text, for a person to paste.

use std::path::PathBuf;

use pyro_api::{Report, Text};
use serde::Serialize;

use crate::config_file::{self, Scope};
use crate::context::Context;
use crate::document::Document;
use crate::entry::Entry;
use crate::entry_path::EntryPath;
use crate::error::HostError;
use crate::host::Host;
use crate::launch;
use crate::options::Options;

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
    options: &Options,
    context: &Context,
) -> Result<Printed, HostError> {
    let name = options.name()?;
    let config_file = match (&options.config, options.scope) {
        (Some(file), _) => Some(config_file::named(file, context)),
        (None, Some(scope)) => Some(config_file::of_scope(host, scope, context)?),
        // Without a home there is no path to show, and still something to paste.
        (None, None) => config_file::of_scope(host, Scope::User, context).ok(),
    };
    let scope = config_file
        .as_ref()
        .and_then(|config_file| config_file.scope);
    let entry = launch::entry(host, options, scope, context)?;
    let mut document = match Document::parse(b"", host.format) {
        Ok(document) => document,
        Err(fault) => return Err(fault.of(host.id.as_ref(), host.format)),
    };
    document
        .set(EntryPath::of(host.servers, name), &entry.fields(host.shape))
        .map_err(|fault| fault.of(host.id.as_ref(), host.format))?;
    Ok(Printed {
        host: host.id,
        title: host.title,
        name: name.to_owned(),
        config: config_file.map(|config_file| config_file.file),
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
                "[next] add this to {}; `pyro host connect {}` does it for you",
                file.display(),
                self.host
            )),
            None => text.err("[next] most hosts use this form; see the host's own manual"),
        }
    }
}
