//! Does what the doctor says, where a change of the file can help.

use std::path::PathBuf;

use pyro_api::{Report, Text};
use serde::Serialize;

use crate::connect::{self, Connected};
use crate::context::Context;
use crate::doctor::{Diagnosis, Finding, doctor};
use crate::entry::Entry;
use crate::error::HostError;
use crate::host::Host;
use crate::launch;
use crate::options::Options;
use crate::save;

#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// The name that a broken file was given.
    pub moved_aside: Option<PathBuf>,
    /// What was written; nothing when nothing had to be.
    pub change: Option<Connected>,
    /// How it is now.
    pub now: Diagnosis,
}

/// Repairs the entry. A file that cannot be understood is given another name only when that was
/// asked for.
pub fn repair(
    host: &'static Host,
    options: &Options,
    move_aside: bool,
    context: &Context,
) -> Result<Repaired, HostError> {
    let before = doctor(host, options, context)?;
    let config_file = before.config_file.clone();
    let name = options.name()?;
    let fresh = || launch::entry(host, options, config_file.scope, context);
    let mut moved_aside = None;
    let entry = match before.finding {
        Finding::Nothing => None,
        Finding::Broken if move_aside && save::read(&config_file.file)?.is_some() => {
            if !options.dry_run {
                moved_aside = Some(save::move_aside(&config_file.file)?);
            }
            Some(fresh()?)
        }
        // This tells what is wrong with it.
        Finding::Broken | Finding::NoEntry | Finding::NotPyros => Some(fresh()?),
        Finding::Disabled | Finding::NoCommand | Finding::DoesNotServe => {
            Some(renewed(before.entry.as_ref(), fresh()?, options))
        }
    };
    let change = match entry {
        // The old file is still there; what it would become cannot be told from it.
        Some(_) if options.dry_run && before.finding == Finding::Broken && move_aside => None,
        Some(entry) => Some(connect::write(
            host,
            &config_file,
            name,
            entry,
            options,
            true,
            context,
        )?),
        None => None,
    };
    let now = match options.dry_run || change.is_none() {
        true => before,
        false => doctor(host, options, context)?,
    };
    Ok(Repaired {
        moved_aside,
        change,
        now,
    })
}

/// The entry with a command that works; profile and variables stay unless others were asked for.
fn renewed(old: Option<&Entry>, fresh: Entry, options: &Options) -> Entry {
    let Some(old) = old else { return fresh };
    Entry {
        command: fresh.command,
        args: match options.profile {
            Some(_) => fresh.args,
            None => old.args.clone(),
        },
        env: fresh.env,
    }
}

impl Report for Repaired {
    fn report(&self, text: &mut Text) {
        if let Some(aside) = &self.moved_aside {
            text.out(format!("Renamed the broken file: {}", aside.display()));
        }
        match &self.change {
            Some(change) => change.report(text),
            None if self.now.healthy => text.out("Nothing to do: the entry works"),
            None => text.out("Would rename the broken file and start a new one"),
        }
        self.now.report(text);
    }

    fn exit_code(&self) -> u8 {
        self.now.exit_code()
    }
}
