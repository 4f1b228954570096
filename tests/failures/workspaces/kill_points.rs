//! `kill -9` of whoever works on a workspace, at moments that are spread over the work.

use std::process::Command;
use std::time::Instant;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::Tools;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Backend, World};
use serde_json::Value;

use crate::{error, records};

/// Whose work it is.
#[derive(Clone, Copy)]
pub(super) enum Worker {
    CommandLine,
    /// `pyro mcp serve`, which lives on after its work.
    Server,
}

impl Worker {
    /// Begins an operation.
    pub(super) fn begins(self, world: &World, operation: &'static str, arguments: Value) -> Work {
        match self {
            Self::CommandLine => CommandLine(world).command(operation, &arguments).into(),
            Self::Server => {
                let server = Tools::new(world);
                let since = Instant::now();
                let id = server.begin(operation, arguments);
                let doing = Doing::Call {
                    server,
                    operation,
                    id,
                };
                Work { since, doing }
            }
        }
    }
}

/// Something that was begun.
pub(super) struct Work {
    since: Instant,
    doing: Doing,
}

enum Doing {
    Command(Running),
    Call {
        server: Tools,
        operation: &'static str,
        id: i64,
    },
}

impl From<Command> for Work {
    fn from(mut command: Command) -> Self {
        Self {
            since: Instant::now(),
            doing: Doing::Command(Running::start(&mut command)),
        }
    }
}

impl Work {
    /// Waits for the end, which is a good one.
    fn finish(self) {
        match self.doing {
            Doing::Command(running) => drop(error::none(&running.wait())),
            Doing::Call {
                server,
                operation,
                id,
            } => {
                if let Err(told) = server.result(operation, id) {
                    panic!("{operation}: {told:#}");
                }
            }
        }
    }

    fn kill(self) {
        match self.doing {
            Doing::Command(mut running) => {
                running.child.kill().unwrap();
                running.child.wait().unwrap();
            }
            Doing::Call { server, .. } => server.kill(),
        }
    }
}

/// How often one thing is interrupted, each time later.
fn rounds(world: &World) -> u32 {
    match world.backend {
        Backend::Process => 24,
        Backend::Vm | Backend::Gvisor => 5,
    }
}

/// Interrupts work at moments that are spread over the time that it takes, and looks after each.
pub(super) fn at_many_moments<W: Into<Work>>(
    world: &World,
    mut begin: impl FnMut(u32) -> W,
    mut look: impl FnMut(u32),
) {
    let work: Work = begin(0).into();
    let since = work.since;
    work.finish();
    let takes = since.elapsed();
    look(0);
    let rounds = rounds(world);
    for round in 1..=rounds {
        let work: Work = begin(round).into();
        std::thread::sleep((takes * round / (rounds + 1)).saturating_sub(work.since.elapsed()));
        work.kill();
        look(round);
    }
    forget_the_killed(world);
}

/// The mark of a killed process goes when it is old enough and somebody looks.
pub(super) fn forget_the_killed(world: &World) {
    records::age_all(world);
    error::none(&finish(&mut world.pyro(["workspace", "list"])));
}
