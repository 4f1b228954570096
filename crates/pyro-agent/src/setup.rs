//! Makes a waiting guest into a particular one: its clock, random numbers, disk and name.
//!
//! A guest may have been waiting for this since long before, frozen and copied many times. So
//! nothing that tells two guests apart may have happened earlier, and randomness and clock come
//! before everything else.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use pyro_wire::agent::{Ready, SetUp};
use pyro_wire::fault::{Fault, FaultCode};

use crate::agent::{Agent, Place, Stage};
use crate::clock::{self, uptime};
use crate::mounts::MountError;
use crate::{console, identity, mounts};

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
    fn fault(&self) -> Fault {
        let code = match self {
            Self::Refused { .. } => FaultCode::Refused,
            Self::Step { .. } | Self::Mount(_) => FaultCode::BootFailed,
        };
        Fault::new(code, self.to_string())
    }
}

/// Sets the guest up, once in its life. Outside of a guest there is nothing to do.
pub(crate) async fn set_up(agent: &Agent, request: &SetUp) -> Result<Ready, Fault> {
    if agent.place == Place::Guest {
        set_up_guest(agent, request)
            .await
            .inspect_err(report_broken)
            .map_err(|error| error.fault())?;
    }
    Ok(Ready {
        agent_version: env!("CARGO_PKG_VERSION").into(),
        kernel_release: nix::sys::utsname::uname()
            .map(|system| system.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        uptime_ms: u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX),
    })
}

/// A broken guest says so on its console too; a refused request harms nobody.
fn report_broken(error: &SetUpError) {
    if !matches!(error, SetUpError::Refused { .. }) {
        console::report(error);
    }
}

async fn set_up_guest(agent: &Agent, request: &SetUp) -> Result<(), SetUpError> {
    identity::check(request).map_err(|what| SetUpError::Refused { what })?;
    may_set_up(agent)?;
    mounts::await_root_device().await?;
    // Another stream may have been faster while this one waited. Below, nothing waits, so no
    // session's end can leave the guest half set up.
    may_set_up(agent)?;
    agent.trace().step("root device");

    agent.set_stage(Stage::Broken);
    steps(agent, request)?;
    agent.set_stage(Stage::Ready);
    agent.trace().print_if_asked();
    Ok(())
}

fn may_set_up(agent: &Agent) -> Result<(), SetUpError> {
    let what = match agent.stage() {
        Stage::Waiting => return Ok(()),
        Stage::Ready => "the guest is set up already",
        Stage::Broken => "setting the guest up has failed before",
        Stage::Closing => "the guest is shutting down",
    };
    Err(SetUpError::Refused { what })
}

fn steps(agent: &Agent, request: &SetUp) -> Result<(), SetUpError> {
    add_entropy(&request.entropy).map_err(step("mix in entropy"))?;
    clock::set_wall_clock(request.unix_time_ns).map_err(step("set the clock"))?;
    agent.trace().step("entropy, clock");
    mounts::switch_root()?;
    agent.trace().step("root");
    identity::assume(request).map_err(step("write the guest's name"))?;
    mounts::make_folder(Path::new("/workspace"), 0o755)?;
    agent.trace().step("name");
    Ok(())
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> SetUpError {
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
