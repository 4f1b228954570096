//! Makes a waiting guest into a particular one: its clock, random numbers, disk and name.
//!
//! A guest may have been waiting for this since long before, frozen and copied many times. So
//! nothing that tells two guests apart may have happened earlier, and randomness and clock come
//! before everything else.
//!
//! ```text
//! Waiting ───────────── SetUp ──────────────▶ Ready
//!    └─ Prepare ▶ Preparing ▶ Prepared ─ SetUp ─┘
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use pyro_wire::agent::{Ready, Refresh, SetUp, StepClock};
use pyro_wire::fault::{Fault, FaultCode};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::clock::{self, Laps, uptime};
use crate::files::layout;
use crate::lifecycle::Stage;
use crate::mounts::MountError;
use crate::{console, identity, mounts, workspace};

/// More entropy than this is no use to the kernel's generator.
const ENTROPY: usize = 512;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    #[error("{what}")]
    Refused { what: &'static str },
    #[error("cannot {step}: {source}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl SetUpError {
    pub(crate) fn fault(&self) -> Fault {
        let code = match self {
            Self::Refused { .. } => FaultCode::Refused,
            Self::Step { .. } | Self::Mount(_) => FaultCode::BootFailed,
        };
        Fault::new(code, self.to_string())
    }
}

/// Sets the guest up, once in its life. Outside of a guest there is nothing to do.
pub(crate) async fn set_up(agent: &Agent, request: &SetUp) -> Result<Ready, Fault> {
    let mut laps = Laps::begin(request.timings);
    agent.launcher.variables.set(&request.env);
    match agent.backend {
        Backend::Vm => set_up_guest(agent, request, &mut laps).await,
        Backend::Sandbox => set_up_sandbox(agent, request, &mut laps),
        Backend::Files => set_up_files(agent, request),
        Backend::Process { .. } => Ok(()),
    }
    .inspect_err(report_broken)
    .map_err(|error| error.fault())?;
    Ok(Ready {
        laps: laps.finish(),
        ..about(agent)
    })
}

/// Brings a guest that stood still back into the present.
pub(crate) fn refresh(agent: &Agent, request: &Refresh) -> Result<Ready, Fault> {
    if !agent.backend.is_guest() || agent.lifecycle.stage() != Stage::Ready {
        let words = "only a guest that is set up can be brought up to date";
        return Err(Fault::new(FaultCode::Refused, words));
    }
    // The clock and the random numbers of a sandbox are the host's, and so never of the past.
    if agent.backend == Backend::Vm {
        renew(&request.entropy, request.unix_time_ns).map_err(|error| error.fault())?;
    }
    Ok(about(agent))
}

pub(crate) fn about(agent: &Agent) -> Ready {
    Ready {
        agent_version: env!("CARGO_PKG_VERSION").into(),
        kernel_release: nix::sys::utsname::uname()
            .map(|system| system.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        uptime_ms: u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX),
        // The host's own clock is no guest's, which could be wrong.
        unix_time_ns: match agent.backend {
            Backend::Vm => clock::wall_clock(),
            Backend::Sandbox | Backend::Files | Backend::Process { .. } => None,
        },
        laps: Vec::new(),
    }
}

/// Corrects the wall clock of a guest that is set up. The host's own is not ours to touch.
pub(crate) fn step_clock(agent: &Agent, request: StepClock) -> Result<(), Fault> {
    if agent.backend != Backend::Vm || agent.lifecycle.stage() != Stage::Ready {
        let words = "only the clock of a virtual machine that is set up can be corrected";
        return Err(Fault::new(FaultCode::Refused, words));
    }
    clock::step_wall_clock(request.by_ns).map_err(|error| {
        Fault::new(
            FaultCode::BootFailed,
            format!("cannot correct the clock: {error}"),
        )
    })
}

/// A broken guest says so on its console too; a refused request harms nobody.
pub(crate) fn report_broken(error: &SetUpError) {
    if !matches!(error, SetUpError::Refused { .. }) {
        console::report(error);
    }
}

async fn set_up_guest(agent: &Agent, request: &SetUp, laps: &mut Laps) -> Result<(), SetUpError> {
    identity::check(request).map_err(|what| SetUpError::Refused { what })?;
    may_set_up(agent)?;
    if agent.lifecycle.stage() == Stage::Waiting {
        mounts::await_root_device().await?;
        // Another stream may have been faster while this one waited. Below, nothing waits, so no
        // session's end can leave the guest half set up.
        may_set_up(agent)?;
    }
    agent.trace().step("root device");

    let before = agent.lifecycle.stage();
    agent.lifecycle.set(Stage::Broken);
    steps(before, agent, request, laps)?;
    agent.lifecycle.set(Stage::Ready);
    agent.trace().print_if_enabled();
    Ok(())
}

/// What it shares with the host's kernel needs nothing. It waits for nothing either, so no session's
/// end can leave it half set up.
fn set_up_sandbox(agent: &Agent, request: &SetUp, laps: &mut Laps) -> Result<(), SetUpError> {
    identity::check(request).map_err(|what| SetUpError::Refused { what })?;
    may_set_up(agent)?;
    laps.reached("request understood");
    agent.lifecycle.set(Stage::Broken);
    open_workspace(agent, request)?;
    laps.reached("workspace there");
    identity::apply(request).map_err(step("write the guest's name"))?;
    laps.reached("name taken on");
    agent.lifecycle.set(Stage::Ready);
    Ok(())
}

/// Nothing of the guest is made here: not its name, nor its clock.
fn set_up_files(agent: &Agent, request: &SetUp) -> Result<(), SetUpError> {
    may_set_up(agent)?;
    agent.lifecycle.set(Stage::Broken);
    open_workspace(agent, request)?;
    agent.lifecycle.set(Stage::Ready);
    Ok(())
}

/// Makes sure that there is a workspace, and that nobody sees what a crash in the middle of a change has
/// left in it. If that cannot be put right, the agent is still the only way to get at the files.
fn open_workspace(agent: &Agent, request: &SetUp) -> Result<(), SetUpError> {
    workspace::make()?;
    workspace::give_to_user(agent, request.user.as_ref());
    if let Err(error) = agent.files.recover() {
        console::report(error);
    }
    Ok(())
}

fn may_set_up(agent: &Agent) -> Result<(), SetUpError> {
    match agent.lifecycle.stage() {
        Stage::Waiting | Stage::Prepared => Ok(()),
        other => Err(wrong_stage(other)),
    }
}

/// Why a guest cannot be set up, or prepared, in this stage.
pub(crate) fn wrong_stage(stage: Stage) -> SetUpError {
    let what = match stage {
        Stage::Waiting => "the guest is not prepared",
        Stage::Preparing => "the guest is being prepared, or that was interrupted",
        Stage::Prepared => "the guest is prepared already",
        Stage::Ready => "the guest is set up already",
        Stage::Broken => "setting the guest up has failed before",
        Stage::Closing => "the guest is shutting down",
    };
    SetUpError::Refused { what }
}

fn steps(before: Stage, agent: &Agent, request: &SetUp, laps: &mut Laps) -> Result<(), SetUpError> {
    laps.reached("request understood");
    renew(&request.entropy, request.unix_time_ns)?;
    agent.trace().step("entropy, clock");
    laps.reached("entropy mixed in, clock set");
    if before == Stage::Prepared {
        identity::renew_boot_id().map_err(step("renew the boot id"))?;
    } else {
        mounts::switch_root()?;
        if request.new_disk {
            layout::forget_others();
        }
        workspace::make()?;
        agent.trace().step("root");
    }
    workspace::give_to_user(agent, request.user.as_ref());
    // Nothing else may see what a crash in the middle of a change has left. If that cannot be put
    // right, the guest is still the only way to get at the files.
    if let Err(error) = agent.files.recover() {
        console::report(error);
    }
    laps.reached("root there, boot id its own");
    identity::apply(request).map_err(step("write the guest's name"))?;
    laps.reached("name taken on");
    agent.trace().step("name");
    Ok(())
}

fn renew(entropy: &[u8], unix_time_ns: u64) -> Result<(), SetUpError> {
    add_entropy(entropy).map_err(step("mix in entropy"))?;
    clock::set_wall_clock(unix_time_ns).map_err(step("set the clock"))
}

pub(crate) fn step(step: &'static str) -> impl FnOnce(io::Error) -> SetUpError {
    move |source| SetUpError::Step { step, source }
}

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of `linux/random.h`.
const ADD_ENTROPY: libc::Ioctl = nix::request_code_write!(b'R', 3, 2 * size_of::<libc::c_int>());
const RESEED: libc::Ioctl = nix::request_code_none!(b'R', 7);

/// The head of what `RNDADDENTROPY` takes, with room for the bytes.
#[repr(C)]
struct PoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; ENTROPY],
}

/// Mixes bytes into the kernel's random numbers, and makes it use them at once: a copy of a
/// frozen guest must not repeat the numbers of its parent.
fn add_entropy(bytes: &[u8]) -> io::Result<()> {
    let bytes = &bytes[..bytes.len().min(ENTROPY)];
    if bytes.is_empty() {
        return Ok(());
    }
    let length = libc::c_int::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut pool = PoolInfo {
        entropy_count: length * 8,
        buf_size: length,
        buf: [0; ENTROPY],
    };
    pool.buf[..bytes.len()].copy_from_slice(bytes);
    let random = File::open("/dev/urandom")?;
    // SAFETY: the kernel reads the head and `buf_size` bytes after it, which `pool` holds.
    Errno::result(unsafe { libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, &pool) })?;
    // SAFETY: this takes no argument.
    match Errno::result(unsafe { libc::ioctl(random.as_raw_fd(), RESEED) }) {
        // Not seeded before, so nothing to replace.
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Trace;
    use crate::prepare;
    use crate::reaper::Reaper;
    use pyro_wire::agent::Prepare;

    /// Only what is refused can be tried here: the rest mounts disks.
    #[tokio::test]
    async fn a_guest_is_set_up_and_prepared_once() {
        let agent = Agent::new(Backend::Vm, Reaper::idle(), Trace::default());
        let request = SetUp {
            env: Vec::new(),
            user: None,
            new_disk: false,
            hostname: "web".into(),
            machine_id: "0".repeat(32),
            unix_time_ns: 0,
            entropy: Vec::new(),
            timings: false,
        };
        for (stage, set_up_too) in [
            (Stage::Preparing, true),
            (Stage::Prepared, false),
            (Stage::Ready, true),
            (Stage::Broken, true),
            (Stage::Closing, true),
        ] {
            agent.lifecycle.set(stage);
            let fault = prepare::prepare(&agent, &Prepare::default()).await;
            assert_eq!(fault.unwrap_err().code, FaultCode::Refused, "{stage:?}");
            if set_up_too {
                let fault = set_up(&agent, &request).await;
                assert_eq!(fault.unwrap_err().code, FaultCode::Refused, "{stage:?}");
            }
            assert_eq!(agent.lifecycle.stage(), stage);
        }
        for stage in [Stage::Waiting, Stage::Prepared, Stage::Broken] {
            agent.lifecycle.set(stage);
            let present = Refresh {
                unix_time_ns: 0,
                entropy: Vec::new(),
            };
            let fault = refresh(&agent, &present).unwrap_err();
            assert_eq!(fault.code, FaultCode::Refused, "{stage:?}");
        }
        // A name that no guest may have is refused before anything happens.
        agent.lifecycle.set(Stage::Prepared);
        let nameless = SetUp {
            env: Vec::new(),
            user: None,
            hostname: String::new(),
            ..request
        };
        assert!(set_up(&agent, &nameless).await.is_err());
        assert_eq!(agent.lifecycle.stage(), Stage::Prepared);
    }
}
