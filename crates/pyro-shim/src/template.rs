//! `pyro shim --template`: from a template file to a saved guest, or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pyro_wire::PROTOCOL;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::template::{TemplateBuilt, TemplateSpec};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::descendants;
use crate::backend::qemu::QemuBackend;
use crate::detach;
use crate::events::Events;
use crate::owner;

/// See [`crate::save_template`].
pub(crate) fn run(spec: &Path) -> ExitCode {
    detach::detach();
    let Ok(output) = detach::take_output() else {
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(save(spec)),
        Err(error) => Err(host_io("the runtime could not be started", &error)),
    };
    match outcome {
        Ok(built) => tell(output, &built, ExitCode::SUCCESS),
        Err(fault) => tell(output, &fault, ExitCode::FAILURE),
    }
}

async fn save(path: &Path) -> Result<TemplateBuilt, Fault> {
    let spec = read(path)?;
    descendants::become_subreaper();
    let in_the_way = |error: io::Error| host_io("the builder could not be set up", &error);
    let input = detach::take_input().map_err(in_the_way)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(in_the_way)?;
    let nobody = OpenOptions::new().write(true).open("/dev/null");
    let events = Events::to(nobody.map_err(in_the_way)?);
    let outcome = {
        let mut backend = QemuBackend::new(spec.qemu.clone(), None, false);
        tokio::select! {
            built = backend.save(&spec, &events) => built,
            () = owner::closed(input) => Err(given_up("the process that requested it has ended")),
            _ = terminate.recv() => Err(given_up("the builder was terminated")),
        }
    };
    // Whoever hears the outcome may remove the folder at once.
    descendants::end_all().await;
    outcome
}

fn read(path: &Path) -> Result<TemplateSpec, Fault> {
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let text = fs::read(path).map_err(|error| host_io("the template file", &error))?;
    let damaged = |error: serde_json::Error| {
        let words = format!("the template file is damaged: {error}");
        Fault::new(FaultCode::Protocol, words)
    };
    let Version { protocol } = serde_json::from_slice(&text).map_err(damaged)?;
    if protocol != PROTOCOL {
        let words = format!("the template file has protocol {protocol}, this shim {PROTOCOL}");
        return Err(Fault::new(FaultCode::Protocol, words));
    }
    serde_json::from_slice(&text).map_err(damaged)
}

fn tell(mut output: File, outcome: &impl Serialize, code: ExitCode) -> ExitCode {
    let told = serde_json::to_vec(outcome)
        .map_err(io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            output.write_all(&line)
        });
    match told {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn given_up(why: &str) -> Fault {
    Fault::new(
        FaultCode::Refused,
        format!("the template was not finished: {why}"),
    )
}

fn host_io(what: &str, error: &io::Error) -> Fault {
    Fault::new(FaultCode::of_io(error), format!("{what}: {error}"))
}
