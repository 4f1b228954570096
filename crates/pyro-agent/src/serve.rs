//! One session: takes its streams, each with one request, and serves them side by side.

use std::sync::Arc;
use std::time::Duration;

use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, FrameError};
use pyro_wire::session::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::peer::{self, Peer, Reader, Writer};
use crate::{
    exec, exec_at_terminal, files, forward, greediest, prepare, secrets, services, setup, shells,
    shutdown,
};

/// How long an asking side may take to end its stream after the last answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Serves until the host is gone, then ends what its streams were running.
pub(crate) async fn session<C>(agent: &Arc<Agent>, channel: &mut C)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::new(channel);
    // Dropping the tasks at the end drops, and thereby kills, what they run.
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = acceptor.next() => match stream {
                Some(stream) => {
                    let agent = Arc::clone(agent);
                    streams.spawn(async move { serve(&agent, stream).await });
                }
                None => break,
            },
            Some(_) = streams.join_next() => {}
        }
    }
    streams.shutdown().await;
}

/// Serves one stream, whatever comes over it.
async fn serve<P: Peer>(agent: &Arc<Agent>, stream: P) {
    let (from, mut to) = match asked(stream).await {
        Some((AgentRequest::TakeLine, from, to)) => (from, to),
        Some((request, from, to)) => return answer(agent, request, from, to).await,
        None => return,
    };
    let reply = match take_line(agent).await {
        Ok(()) => AgentReply::Done,
        Err(fault) => AgentReply::Failed(fault),
    };
    if frame::write_message(&mut to, &reply).await.is_ok() {
        close(from, to).await;
    }
}

/// Serves a line that has come over the channel as one of its streams, to its end.
async fn take_line(agent: &Arc<Agent>) -> Result<(), Fault> {
    agent.backend.serves(&AgentRequest::TakeLine)?;
    let failed = |why: String| Fault::new(FaultCode::Protocol, why);
    let line = agent.lines.take();
    let line = line.ok_or_else(|| failed("no line has come".into()))?;
    let line = line.map_err(|error| failed(error.to_string()))?;
    if let Some((request, from, to)) = asked(line).await {
        answer(agent, request, from, to).await;
    }
    Ok(())
}

/// The request that a stream begins with. Nonsense is answered here.
async fn asked<P: Peer>(stream: P) -> Option<(AgentRequest, Reader<P>, Writer<P>)> {
    let (mut from, mut to) = peer::split(stream);
    match frame::read_message(&mut from).await {
        Ok(request) => return Some((request, from, to)),
        Err(FrameError::Ended | FrameError::CutOff | FrameError::Io { .. }) => {}
        Err(error) => {
            let fault = Fault::new(FaultCode::Protocol, error.to_string());
            let _ = frame::write_message(&mut to, &AgentReply::Failed(fault)).await;
            let _ = to.shutdown().await;
        }
    }
    None
}

async fn answer<P: Peer>(
    agent: &Arc<Agent>,
    request: AgentRequest,
    mut from: Reader<P>,
    mut to: Writer<P>,
) {
    if let Err(fault) = agent.backend.serves(&request) {
        if frame::write_message(&mut to, &AgentReply::Failed(fault))
            .await
            .is_ok()
        {
            close(from, to).await;
        }
        return;
    }
    // A failure to answer means that the asking side is gone, and it can be told nothing.
    let answered = match request {
        AgentRequest::Exec(request) => {
            if let Ok(group) = exec::run(agent, request, &mut from, &mut to).await {
                close(from, to).await;
                drop(group);
                agent.launcher.get_ready();
            }
            return;
        }
        AgentRequest::ExecAtTerminal(request) => {
            let run = exec_at_terminal::run(agent, request, &mut from, &mut to);
            if run.await.is_ok() {
                close(from, to).await;
            }
            return;
        }
        AgentRequest::List(request) => {
            return serve_files(agent, files::Request::List(request), from, to).await;
        }
        AgentRequest::Read(request) => {
            return serve_files(agent, files::Request::Read(request), from, to).await;
        }
        AgentRequest::Change(request) => {
            return serve_files(agent, files::Request::Change(request), from, to).await;
        }
        AgentRequest::Place(request) => {
            return serve_files(agent, files::Request::Place(request), from, to).await;
        }
        AgentRequest::Export(request) => {
            return serve_files(agent, files::Request::Export(request), from, to).await;
        }
        AgentRequest::Diff(request) => {
            return serve_files(agent, files::Request::Diff(request), from, to).await;
        }
        AgentRequest::Shell(request) => {
            let (shells, launcher) = (&agent.shells, &agent.launcher);
            let lifecycle = &agent.lifecycle;
            let served = shells::serve(shells, launcher, lifecycle, request, &mut from, &mut to);
            if served.await.is_ok() {
                close(from, to).await;
            }
            return;
        }
        AgentRequest::ServiceStart(request) => {
            return serve_services(agent, services::Request::Start(request), from, to).await;
        }
        AgentRequest::ServiceStop(request) => {
            return serve_services(agent, services::Request::Stop(request), from, to).await;
        }
        AgentRequest::ServiceList => {
            return serve_services(agent, services::Request::List, from, to).await;
        }
        AgentRequest::ServiceLogs(request) => {
            return serve_services(agent, services::Request::Logs(request), from, to).await;
        }
        AgentRequest::ServiceWatch(request) => {
            return serve_services(agent, services::Request::Watch(request), from, to).await;
        }
        AgentRequest::ServicesEnd => {
            return serve_services(agent, services::Request::End, from, to).await;
        }
        AgentRequest::Connect(request) => {
            if let Some((from, to)) = forward::serve(agent, &request, from, to).await {
                close(from, to).await;
            }
            return;
        }
        AgentRequest::LastUse => Ok(AgentReply::Used {
            ms_ago: [agent.services.last_use_ms(), agent.shells.last_use_ms()]
                .into_iter()
                .flatten()
                .min(),
        }),
        AgentRequest::Freeze(request) => {
            let frozen = agent.files.freeze(&agent.launcher.starts, &request).await;
            frozen.map(|()| AgentReply::Done)
        }
        AgentRequest::StayFrozen(request) => {
            let frozen = agent.files.stay_frozen(&request).await;
            frozen.map(|()| AgentReply::Done)
        }
        AgentRequest::Thaw => {
            agent.files.thaw().await;
            Ok(AgentReply::Done)
        }
        AgentRequest::FreeMemory(request) => {
            greediest::kill(agent, &request).map(|()| AgentReply::Done)
        }
        AgentRequest::TakeLine => Err(Fault::new(
            FaultCode::Protocol,
            "a line cannot be taken over a line",
        )),
        AgentRequest::Ping => Ok(AgentReply::Done),
        AgentRequest::SetUp(request) => setup::set_up(agent, &request).await.map(AgentReply::Ready),
        AgentRequest::Refresh(request) => setup::refresh(agent, &request).map(AgentReply::Ready),
        AgentRequest::About => Ok(AgentReply::Ready(setup::about(agent))),
        AgentRequest::StepClock(request) => {
            setup::step_clock(agent, request).map(|()| AgentReply::Done)
        }
        AgentRequest::InstallSecrets(request) => {
            let secrets = &agent.launcher.secrets;
            secrets::install(secrets, &agent.backend, &agent.lifecycle, request)
                .map(|()| AgentReply::Done)
        }
        AgentRequest::Prepare(request) => {
            let prepared = prepare::prepare(agent, &request).await;
            prepared.map(|()| AgentReply::Done)
        }
        AgentRequest::ShutDown => {
            shutdown::shut_down(agent).await;
            Ok(AgentReply::Done)
        }
    };
    let reply = answered.unwrap_or_else(AgentReply::Failed);
    if frame::write_message(&mut to, &reply).await.is_ok() {
        close(from, to).await;
    }
}

async fn serve_files<P: Peer>(
    agent: &Agent,
    request: files::Request,
    mut from: Reader<P>,
    mut to: Writer<P>,
) {
    let lifecycle = &agent.lifecycle;
    let served = agent.files.serve(lifecycle, request, &mut from, &mut to);
    if served.await.is_ok() {
        close(from, to).await;
    }
}

async fn serve_services<P: Peer>(
    agent: &Agent,
    request: services::Request,
    mut from: Reader<P>,
    mut to: Writer<P>,
) {
    let Agent {
        services,
        launcher,
        lifecycle,
        ..
    } = agent;
    let served = services::serve(services, launcher, lifecycle, request, &mut from, &mut to);
    if served.await.is_ok() {
        close(from, to).await;
    }
}

/// Ends our half of a stream, then reads on until the other side has ended its own: what it still
/// sends would otherwise wait for ever to be taken.
async fn close<P: Peer>(mut from: Reader<P>, mut to: Writer<P>) {
    if to.shutdown().await.is_ok() {
        let mut rest = [0; 1024];
        let read = async { while from.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
        let _ = timeout(CLOSE_LIMIT, read).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pyro_wire::agent::Prepare;
    use pyro_wire::exec::{Command, Exec, ExecControl, ExecEvent};
    use pyro_wire::files::{Change, Diff, Export, List, Read};
    use pyro_wire::service::Connect;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::backend::Backend;
    use crate::clock::Trace;
    use crate::reaper::{CHILDREN, Reaper};

    impl Peer for DuplexStream {
        fn is_gone(&self) -> bool {
            false
        }

        async fn relay(self, _server: tokio::net::TcpStream) {}
    }

    fn agent(folder: &tempfile::TempDir, reaper: Arc<Reaper>) -> Arc<Agent> {
        // With room beside it for what the agent keeps there.
        let folder = PathBuf::from(folder.path()).join("workspace");
        std::fs::create_dir_all(&folder).unwrap();
        Arc::new(Agent::new(
            Backend::Process { folder },
            reaper,
            Trace::default(),
        ))
    }

    /// Numbers that look random and are the same in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            usize::try_from(self.0 >> 33).unwrap() % sides
        }
    }

    async fn talk(agent: &Arc<Agent>, bytes: &[u8]) {
        let (mut host, guest) = tokio::io::duplex(64 * 1024);
        let host = async {
            let (mut from, mut to) = tokio::io::split(&mut host);
            let write = async {
                // The agent may hang up at any byte.
                let _ = to.write_all(bytes).await;
                let _ = to.shutdown().await;
            };
            let mut answer = Vec::new();
            let (_, read) = tokio::join!(write, from.read_to_end(&mut answer));
            read.unwrap();
        };
        let both = async { tokio::join!(host, serve(agent, guest)) };
        timeout(Duration::from_secs(10), both).await.unwrap();
    }

    /// What is answered to a request for a line.
    async fn take(agent: &Arc<Agent>) -> AgentReply {
        let (mut host, guest) = tokio::io::duplex(1024);
        let ask = async {
            frame::write_message(&mut host, &AgentRequest::TakeLine)
                .await
                .unwrap();
            let reply = frame::read_message(&mut host).await.unwrap();
            host.shutdown().await.unwrap();
            reply
        };
        tokio::join!(ask, serve(agent, guest)).0
    }

    #[tokio::test]
    async fn a_line_is_served_once_and_only_by_an_agent_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let other = agent(&folder, Reaper::idle());
        let agent = Arc::new(Agent::new(Backend::Files, Reaper::idle(), Trace::default()));
        let request = async |request| {
            let (client, passed) = std::os::unix::net::UnixStream::pair().unwrap();
            client.set_nonblocking(true).unwrap();
            let mut client = tokio::net::UnixStream::from_std(client).unwrap();
            agent.lines.add(passed.into());
            frame::write_message(&mut client, &request).await.unwrap();
            let ask = async {
                let reply = frame::read_message(&mut client).await.unwrap();
                client.shutdown().await.unwrap();
                reply
            };
            let (reply, taken): (AgentReply, _) = tokio::join!(ask, take(&agent));
            assert_eq!(taken, AgentReply::Done);
            reply
        };
        assert_eq!(request(AgentRequest::Ping).await, AgentReply::Done);
        assert!(matches!(
            request(AgentRequest::TakeLine).await,
            AgentReply::Failed(fault) if fault.code == FaultCode::Protocol
        ));
        assert!(matches!(
            request(AgentRequest::ServiceList).await,
            AgentReply::Failed(fault) if fault.code == FaultCode::Refused
        ));
        assert!(matches!(
            take(&agent).await,
            AgentReply::Failed(fault) if fault.code == FaultCode::Protocol
        ));
        assert!(matches!(
            take(&other).await,
            AgentReply::Failed(fault) if fault.code == FaultCode::Refused
        ));
    }

    #[tokio::test]
    async fn random_bytes_are_refused_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(&folder, Reaper::idle());
        let mut dice = Dice(1);
        for _ in 0..500 {
            let length = dice.roll(200);
            let bytes: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
            talk(&agent, &bytes).await;
        }
    }

    #[tokio::test]
    async fn damaged_requests_and_frames_do_no_harm() {
        let _children = CHILDREN.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(&folder, Reaper::start().unwrap());
        let mut sound = Vec::new();
        let request = AgentRequest::Exec(Exec {
            env: vec![(b"A".to_vec().into(), b"b".to_vec().into())],
            timeout_ms: Some(2000),
            input: true,
            ..Exec::new(Command::Program(vec![b"cat".to_vec().into()]))
        });
        frame::write_message(&mut sound, &request).await.unwrap();
        frame::write_data(&mut sound, frame::Kind::Input, b"some input")
            .await
            .unwrap();
        for control in [ExecControl::Signal(99), ExecControl::InputEnd] {
            frame::write_message(&mut sound, &control).await.unwrap();
        }
        damage(&agent, &sound, &mut Dice(2)).await;
    }

    #[tokio::test]
    async fn damaged_requests_about_files_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(&folder, Reaper::idle());
        let path = || b"a/b".to_vec().into();
        let change = Change {
            destination: path(),
            remove: vec![path()],
            keep_modes: true,
            baseline: true,
            ..Change::default()
        };
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        archive
            .append_data(&mut header, "n".repeat(150), &b"12345"[..])
            .unwrap();
        archive
            .append_pax_extensions([("mtime", &b"1.5"[..])])
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        archive.append_link(&mut header, "link", "to").unwrap();
        let mut sound = Vec::new();
        frame::write_message(&mut sound, &AgentRequest::Change(change))
            .await
            .unwrap();
        let archive = archive.into_inner().unwrap();
        frame::write_data(&mut sound, frame::Kind::Input, &archive)
            .await
            .unwrap();
        frame::write_message(&mut sound, &ExecControl::InputEnd)
            .await
            .unwrap();
        damage(&agent, &sound, &mut Dice(3)).await;

        let content_limit = 7;
        let (recursive, offset, length) = (true, 1, 2);
        for request in [
            AgentRequest::Diff(Diff { content_limit }),
            AgentRequest::Export(Export { path: path() }),
            AgentRequest::List(List {
                path: path(),
                recursive,
            }),
            AgentRequest::Read(Read {
                path: path(),
                offset,
                length,
            }),
        ] {
            let mut sound = Vec::new();
            frame::write_message(&mut sound, &request).await.unwrap();
            damage(&agent, &sound, &mut Dice(4)).await;
        }
    }

    /// Sends something sound many times, each time with other bytes of it damaged.
    async fn damage(agent: &Arc<Agent>, sound: &[u8], dice: &mut Dice) {
        for _ in 0..300 {
            let mut bytes = sound.to_vec();
            for _ in 0..=dice.roll(3) {
                let at = dice.roll(bytes.len());
                match dice.roll(3) {
                    0 => bytes[at] = dice.roll(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, dice.roll(256) as u8),
                }
            }
            talk(agent, &bytes).await;
        }
    }

    #[tokio::test]
    async fn nonsense_gets_a_reply_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(&folder, Reaper::idle());
        let (mut host, guest) = tokio::io::duplex(1024);
        frame::write_message(&mut host, &"dance").await.unwrap();
        let (reply, ()) = tokio::join!(
            frame::read_message::<AgentReply>(&mut host),
            serve(&agent, guest)
        );
        let AgentReply::Failed(fault) = reply.unwrap() else {
            panic!("the agent cannot dance");
        };
        assert_eq!(fault.code, FaultCode::Protocol);
    }

    /// What a request is answered with.
    async fn reply_to(agent: &Arc<Agent>, request: &AgentRequest) -> AgentReply {
        let (mut host, guest) = tokio::io::duplex(1024);
        frame::write_message(&mut host, request).await.unwrap();
        let reply = async {
            let reply = frame::read_message(&mut host).await.unwrap();
            drop(host);
            reply
        };
        tokio::join!(reply, serve(agent, guest)).0
    }

    #[tokio::test]
    async fn a_process_of_the_host_is_never_prepared() {
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(&folder, Reaper::idle());
        for (request, understood) in [
            (AgentRequest::Prepare(Prepare::default()), false),
            (AgentRequest::About, true),
        ] {
            match reply_to(&agent, &request).await {
                AgentReply::Ready(ready) => assert!(understood && !ready.kernel_release.is_empty()),
                AgentReply::Failed(fault) => {
                    assert!(!understood && fault.code == FaultCode::Refused)
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn where_only_files_are_served_nothing_starts_and_nothing_leads_out() {
        let agent = Arc::new(Agent::new(Backend::Files, Reaper::idle(), Trace::default()));
        let command = Exec::new(Command::Program(vec![b"true".to_vec().into()]));
        for (request, served) in [
            (AgentRequest::Exec(command), false),
            (AgentRequest::Prepare(Prepare::default()), false),
            (AgentRequest::Connect(Connect { port: 80 }), false),
            (AgentRequest::ServiceList, false),
            (AgentRequest::Ping, true),
            (AgentRequest::LastUse, true),
            (AgentRequest::Thaw, true),
        ] {
            match reply_to(&agent, &request).await {
                AgentReply::Failed(fault) => {
                    assert!(!served && fault.code == FaultCode::Refused, "{fault:?}");
                }
                other => assert!(served, "{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_failed_exec_reads_the_same_as_reply_and_as_event() {
        let fault = Fault::new(FaultCode::Refused, "no");
        let mut wire = Vec::new();
        frame::write_message(&mut wire, &ExecEvent::Failed(fault.clone()))
            .await
            .unwrap();
        let reply: AgentReply = frame::read_message(&mut wire.as_slice()).await.unwrap();
        assert_eq!(reply, AgentReply::Failed(fault));
    }
}
