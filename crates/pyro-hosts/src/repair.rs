//! Does what the doctor says, where a change of the file can help.

use std::path::PathBuf;

use pyro_api::{Report, Text};
use serde::Serialize;

use crate::connect::{self, Connected};
use crate::doctor::{Examination, Finding, doctor};
use crate::entry::Entry;
use crate::error::HostError;
use crate::host::Host;
use crate::launch;
use crate::place::Surroundings;
use crate::save;
use crate::wish::Wish;

#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    /// The name that a broken file was given.
    pub moved_aside: Option<PathBuf>,
    /// What was written; nothing when nothing had to be.
    pub change: Option<Connected>,
    /// How it is now.
    pub now: Examination,
}

/// Repairs the entry. A file that cannot be understood is given another name only when that was
/// asked for.
pub fn repair(
    host: &'static Host,
    wish: &Wish,
    move_aside: bool,
    around: &Surroundings,
) -> Result<Repaired, HostError> {
    let before = doctor(host, wish, around)?;
    let place = before.place.clone();
    let name = wish.name()?;
    let fresh = || launch::entry(host, wish, place.scope, around);
    let mut moved_aside = None;
    let entry = match before.finding {
        Finding::Nothing => None,
        Finding::Broken if move_aside && save::read(&place.file)?.is_some() => {
            if !wish.dry_run {
                moved_aside = Some(save::move_aside(&place.file)?);
            }
            Some(fresh()?)
        }
        // This tells what is wrong with it.
        Finding::Broken | Finding::NoEntry | Finding::NotPyros => Some(fresh()?),
        Finding::SwitchedOff | Finding::NoCommand | Finding::DoesNotServe => {
            Some(renewed(before.entry.as_ref(), fresh()?, wish))
        }
    };
    let change = match entry {
        // The old file is still there; what it would become cannot be told from it.
        Some(_) if wish.dry_run && before.finding == Finding::Broken && move_aside => None,
        Some(entry) => Some(connect::write(
            host, &place, name, entry, wish, true, around,
        )?),
        None => None,
    };
    let now = match wish.dry_run || change.is_none() {
        true => before,
        false => doctor(host, wish, around)?,
    };
    Ok(Repaired {
        moved_aside,
        change,
        now,
    })
}

/// The entry with a command that works; profile and variables stay unless others were asked for.
fn renewed(old: Option<&Entry>, fresh: Entry, wish: &Wish) -> Entry {
    let Some(old) = old else { return fresh };
    Entry {
        command: fresh.command,
        args: match wish.profile {
            Some(_) => fresh.args,
            None => old.args.clone(),
        },
        env: fresh.env,
    }
}

impl Report for Repaired {
    fn report(&self, text: &mut Text) {
        if let Some(aside) = &self.moved_aside {
            text.out(format!("Moved the broken file aside: {}", aside.display()));
        }
        match &self.change {
            Some(change) => change.report(text),
            None if self.now.healthy => text.out("Nothing to do: it works"),
            None => text.out("Would move the broken file aside and begin a new one"),
        }
        self.now.report(text);
    }

    fn exit_code(&self) -> u8 {
        self.now.exit_code()
    }
}
