//! What idle VMs and sandboxes take of the host's memory, and how long it takes to start many at once.
//!
//! Proportional (PSS) counts a page that several processes share in equal parts to each, so that
//! the sum is what all of them take; resident (RSS) counts it in full to each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use pyro_api::values::{Isolation, MemMib};
use pyro_api::{Error, ErrorCode};
use pyro_engine::Engine;

use super::choice::Choice;
use super::guest::{Guest, KINDS};
use super::gvisor::Gvisor;
use super::statistics::Sample;
use super::table;

const COUNTS: [usize; 3] = [1, 10, 30];
pub(crate) const MEM_MIB: u32 = 256;
pub(crate) const REPETITIONS: usize = 3;

/// How long VMs are left alone before their memory is looked at.
const IDLE: Duration = Duration::from_secs(3);

/// Medians over the repetitions.
pub(crate) struct Crowd {
    pub(crate) count: usize,
    /// Or why there was none.
    pub(crate) measured: Result<Measured, String>,
}

pub(crate) struct Measured {
    /// From the first request until all had answered, in milliseconds.
    pub(crate) start_ms: f64,
    /// Of one, all its processes together.
    pub(crate) resident_mib: f64,
    pub(crate) proportional_mib: f64,
}

/// What each of many idle ones should take at most, in MiB (proportional).
fn goal(isolation: Isolation) -> f64 {
    match isolation {
        Isolation::Gvisor => 16.0,
        Isolation::Auto | Isolation::Vm => 60.0,
    }
}

/// One table for each kind that was asked for and runs here.
pub(crate) async fn tables(
    engine: &Arc<Engine>,
    gvisor: &Gvisor,
    choice: &Choice,
) -> Result<String> {
    let mut tables = Vec::new();
    for isolation in KINDS {
        let what = match isolation {
            Isolation::Gvisor => "sandboxes",
            Isolation::Auto | Isolation::Vm => "VMs",
        };
        let runs = isolation == Isolation::Vm || gvisor.why_not().is_none();
        if runs && choice.wants(&format!("idle {what}")) {
            let crowds = measure(engine, isolation).await?;
            tables.push(table::memory(what, &crowds, goal(isolation)));
        }
    }
    Ok(tables.join("\n"))
}

async fn measure(engine: &Arc<Engine>, isolation: Isolation) -> Result<Vec<Crowd>> {
    let mut crowds = Vec::new();
    for count in COUNTS {
        eprintln!("bench: {count} idle ones ({isolation})");
        let measured = match repeat(engine, isolation, count).await? {
            Ok(all) => Ok(Measured {
                start_ms: median(&all, |one| one.start_ms)?,
                resident_mib: median(&all, |one| one.resident_mib)?,
                proportional_mib: median(&all, |one| one.proportional_mib)?,
            }),
            Err(why) => Err(why),
        };
        crowds.push(Crowd { count, measured });
    }
    Ok(crowds)
}

fn median(all: &[Measured], of: fn(&Measured) -> f64) -> Result<f64> {
    let sample = Sample::new(all.iter().map(of)).context("nothing measured")?;
    Ok(sample.median())
}

/// The inner error says why this host cannot hold so many.
async fn repeat(
    engine: &Arc<Engine>,
    isolation: Isolation,
    count: usize,
) -> Result<Result<Vec<Measured>, String>> {
    let mut all = Vec::new();
    for _ in 0..REPETITIONS {
        match once(engine, isolation, count).await? {
            Ok(measured) => all.push(measured),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(all))
}

async fn once(
    engine: &Arc<Engine>,
    isolation: Isolation,
    count: usize,
) -> Result<Result<Measured, String>> {
    let mem_mib = MemMib::new(MEM_MIB.into())?;
    let started = Instant::now();
    let starts = join_all((0..count).map(|_| Guest::start(engine, isolation, mem_mib))).await;
    let start_ms = started.elapsed().as_secs_f64() * 1000.0;

    let (mut guests, mut refused) = (Vec::new(), Vec::new());
    for start in starts {
        match start {
            Ok(guest) => guests.push(guest),
            Err(error) => refused.push(error),
        }
    }
    let measured = match refused.first() {
        None => Ok(weigh(&guests, start_ms).await?),
        Some(error) if error.code == ErrorCode::MemoryLimit => Err(error.error.clone()),
        Some(error) => bail!(whole(error)),
    };
    for guest in &guests {
        guest.delete().await?;
    }
    Ok(measured)
}

async fn weigh(guests: &[Guest], start_ms: f64) -> Result<Measured> {
    tokio::time::sleep(IDLE).await;
    let (mut resident, mut proportional) = (0.0, 0.0);
    for guest in guests {
        let fact = |name: &str| guest.record.metadata.get(name).map(String::as_str);
        if fact("isolation") == Some("vm") && fact("resumed") != Some("true") {
            bail!("VM {} did not resume its template", guest.record.vm_id);
        }
        for process in guest.processes().await? {
            let path = format!("/proc/{process}/smaps_rollup");
            let rollup = std::fs::read_to_string(&path).with_context(|| path.clone())?;
            resident += mib(&rollup, "Rss:").with_context(|| path.clone())?;
            proportional += mib(&rollup, "Pss:").with_context(|| path.clone())?;
        }
    }
    let count = guests.len() as f64;
    Ok(Measured {
        start_ms,
        resident_mib: resident / count,
        proportional_mib: proportional / count,
    })
}

/// A figure of `smaps_rollup`, which the kernel gives in KiB.
fn mib(rollup: &str, name: &str) -> Option<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn whole(error: &Error) -> String {
    let causes: Vec<String> = error
        .causes
        .iter()
        .map(|cause| format!("\n  cause: {cause}"))
        .collect();
    format!("{error}{}", causes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let rollup = "00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\n\
                      Rss:               10240 kB\n\
                      Pss:                2560 kB\n\
                      Pss_Dirty:           128 kB\n";
        assert_eq!(mib(rollup, "Rss:"), Some(10.0));
        assert_eq!(mib(rollup, "Pss:"), Some(2.5));
        assert_eq!(mib(rollup, "Swap:"), None);
    }
}
