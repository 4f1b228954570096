//! The guest as the shim sees it: a session with the agent, set up once.

use std::io;
use std::time::Duration;

use pyro_wire::Bytes;
use pyro_wire::agent::{
    AgentReply, AgentRequest, FreeMemory, Prepare, Ready, Refresh, SetUp, StepClock,
};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::reached;
use pyro_wire::session::{self, Opener, SessionError};
use pyro_wire::step;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backend::Channel;
use crate::clock::{self, Offset};
use crate::random;

/// Mixed into the guest's own random source, which under emulation has little to start from.
const ENTROPY: usize = 128;

/// How long an agent may think about when its guest was in use. Who is silent loses the VM with all
/// services in it, and a guest that is emulated on a busy host is slow.
const LAST_USE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error("the channel to the agent failed: {source}")]
    Session {
        #[from]
        source: SessionError,
    },
    #[error("the agent disconnected: {source}")]
    Frame {
        #[from]
        source: FrameError,
    },
    #[error("{source}")]
    Refused { source: Fault },
    #[error("the agent sent an unexpected reply")]
    Nonsense,
    #[error("the host's random source cannot be read: {source}")]
    Random { source: io::Error },
}

impl GuestError {
    /// Whether a second boot would end the same way.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Session {
                source: SessionError::Version { .. }
            } | Self::Refused { .. }
                | Self::Nonsense
        )
    }
}

impl From<GuestError> for Fault {
    fn from(error: GuestError) -> Self {
        let code = match &error {
            GuestError::Session {
                source: SessionError::Version { .. },
            }
            | GuestError::Nonsense => FaultCode::Protocol,
            GuestError::Random { .. } => FaultCode::HostIo,
            GuestError::Session { .. } | GuestError::Frame { .. } => FaultCode::BootFailed,
            GuestError::Refused { source } => return source.clone(),
        };
        Self::new(code, error.to_string())
    }
}

/// A guest that answers. Dropping it closes the channel.
pub(crate) struct Guest {
    opener: Opener,
    session: JoinHandle<Result<(), SessionError>>,
}

impl Guest {
    /// Waits for the agent, however long it takes to come up.
    pub(crate) async fn handshake(mut channel: Channel) -> Result<Self, GuestError> {
        session::handshake(&mut channel).await?;
        let (opener, drive) = session::host(channel);
        Ok(Self {
            opener,
            session: tokio::spawn(drive),
        })
    }

    /// Waits for the agent, and gives the guest its name, the time and random numbers.
    pub(crate) async fn connect(
        channel: Channel,
        hostname: &str,
        env: &[(String, String)],
        user: Option<&str>,
        new_disk: bool,
        timings: bool,
    ) -> Result<(Self, Ready), GuestError> {
        let guest = Self::handshake(channel).await?;
        reached!("agent greeted");
        let set_up = set_up(hostname, env, user, new_disk, timings)
            .map_err(|source| GuestError::Random { source })?;
        let asked_us = step::now_us();
        let ready = ask_ready(&guest.opener, &AgentRequest::SetUp(set_up)).await?;
        guest.correct_clock(&ready).await?;
        for lap in &ready.laps {
            step::forward(&lap.since(asked_us));
        }
        reached!("guest set up");
        Ok((guest, ready))
    }

    /// Tells a guest that stood still what time it is, and gives it random numbers of its own.
    pub(crate) async fn refresh(&self) -> Result<(), GuestError> {
        let entropy = random::bytes::<ENTROPY>().map_err(|source| GuestError::Random { source })?;
        let refresh = Refresh {
            unix_time_ns: clock::now_ns(),
            entropy: entropy.to_vec(),
        };
        let ready = ask_ready(&self.opener, &AgentRequest::Refresh(refresh)).await?;
        self.correct_clock(&ready).await
    }

    /// Who the agent is.
    pub(crate) async fn about(&self) -> Result<Ready, GuestError> {
        ask_ready(&self.opener, &AgentRequest::About).await
    }

    /// The time that a guest was told was old when it arrived, on a crowded host by half a second.
    /// Mostly the answer shows that it was not that old.
    async fn correct_clock(&self, ready: &Ready) -> Result<(), GuestError> {
        let Some(theirs) = ready.unix_time_ns else {
            return Ok(());
        };
        // It cannot be ahead, so what it is behind is at most what the answer seems to have taken.
        if clock::now_ns().saturating_sub(theirs) <= clock::CLOSE_NS {
            return Ok(());
        }
        let mut offset = Offset::default();
        for _ in 0..clock::ROUNDS {
            let asked = clock::now_ns();
            let Some(theirs) = self.about().await?.unix_time_ns else {
                return Ok(());
            };
            offset.learn(asked, theirs, clock::now_ns());
            if offset.is_known() {
                break;
            }
        }
        let step = StepClock {
            by_ns: offset.correction_ns(),
        };
        ask_done(&self.opener, &AgentRequest::StepClock(step)).await
    }

    /// Does what is the same for every guest of a template.
    pub(crate) async fn prepare(&self, prepare: &Prepare) -> Result<(), GuestError> {
        ask_done(&self.opener, &AgentRequest::Prepare(prepare.clone())).await
    }

    /// Closes the channel, and returns when it is closed.
    pub(crate) async fn close(mut self) {
        self.session.abort();
        let _ = (&mut self.session).await;
    }

    pub(crate) fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// Resolves when the session is over, once.
    pub(crate) async fn lost(&mut self) -> String {
        match (&mut self.session).await {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) => SessionError::Over.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.session.abort();
    }
}

/// How long ago something in the guest was in use that no connection shows. `None`: nothing was, or
/// the agent does not know.
pub(crate) async fn last_use(opener: &Opener) -> Option<Duration> {
    match timeout(LAST_USE_TIMEOUT, ask(opener, &AgentRequest::LastUse)).await {
        Ok(Ok(AgentReply::Used { ms_ago })) => ms_ago.map(Duration::from_millis),
        _ => None,
    }
}

/// Asks the agent of a sandbox to kill the process that uses most memory, if all together use more
/// than the limit.
pub(crate) async fn free_memory(opener: &Opener, limit_bytes: u64) -> Result<(), GuestError> {
    let request = AgentRequest::FreeMemory(FreeMemory { limit_bytes });
    ask_done(opener, &request).await
}

/// Asks the agent to put everything acknowledged on the disk.
pub(crate) async fn shut_down(opener: Opener) -> Result<(), GuestError> {
    ask_done(&opener, &AgentRequest::ShutDown).await
}

async fn ask_done(opener: &Opener, request: &AgentRequest) -> Result<(), GuestError> {
    match ask(opener, request).await? {
        AgentReply::Done => Ok(()),
        AgentReply::Ready(_) | AgentReply::Used { .. } => Err(GuestError::Nonsense),
        AgentReply::Failed(source) => Err(GuestError::Refused { source }),
    }
}

async fn ask_ready(opener: &Opener, request: &AgentRequest) -> Result<Ready, GuestError> {
    match ask(opener, request).await? {
        AgentReply::Ready(ready) => Ok(ready),
        AgentReply::Done | AgentReply::Used { .. } => Err(GuestError::Nonsense),
        AgentReply::Failed(source) => Err(GuestError::Refused { source }),
    }
}

async fn ask(opener: &Opener, request: &AgentRequest) -> Result<AgentReply, GuestError> {
    let mut stream = opener.open().await?;
    frame::write_message(&mut stream, request).await?;
    Ok(frame::read_message(&mut stream).await?)
}

fn set_up(
    hostname: &str,
    env: &[(String, String)],
    user: Option<&str>,
    new_disk: bool,
    timings: bool,
) -> io::Result<SetUp> {
    let bytes = |text: &str| Bytes::from(text.as_bytes());
    Ok(SetUp {
        hostname: hostname.into(),
        machine_id: random::hex(&random::bytes::<16>()?),
        unix_time_ns: clock::now_ns(),
        entropy: random::bytes::<ENTROPY>()?.to_vec(),
        timings,
        env: env
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect(),
        user: user.map(bytes),
        new_disk,
    })
}
