//! A guest agent small enough to be read at a glance, for trying the shim without the real one:
//! as `/init` of an initramfs it loads `/modules/order` and speaks through `pyro.agent`; as
//! `--process <folder>` it speaks through descriptor 3, as `--sandbox` through descriptor 0.
//!
//! `FAKE_AGENT=mute` never greets, `FAKE_AGENT=late:<file>` greets only when that file exists (and
//! makes it otherwise), `FAKE_AGENT=child` leaves a process of its own behind, `FAKE_AGENT=writing` says
//! for two seconds that a shell has just written something.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pyro_wire::agent::{AgentReply, AgentRequest, Ready};
use pyro_wire::connection::Connection;
use pyro_wire::exec::{Command, ExecEnd, ExecEvent};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::frame::{self, Kind};
use pyro_wire::service::{ConnectReply, ServicePhase, ServiceReply, ServiceState};
use pyro_wire::session::{self, Stream};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

type Any = Box<dyn std::error::Error>;

/// How long it writes, when told to.
const WRITING: Duration = Duration::from_secs(2);

fn begun() -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

fn main() -> Result<(), Any> {
    begun();
    if std::process::id() == 1 && !is_sandbox() {
        init()?;
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

fn is_sandbox() -> bool {
    std::env::args()
        .nth(1)
        .is_some_and(|word| word == "--sandbox")
}

async fn serve() -> Result<(), Any> {
    if is_sandbox() {
        println!("fake agent in a sandbox");
        // SAFETY: the sandbox is started with the channel as descriptor 0, which nobody else owns.
        let channel = unsafe { std::os::unix::net::UnixStream::from(OwnedFd::from_raw_fd(0)) };
        channel.set_nonblocking(true)?;
        return speak(tokio::net::UnixStream::from_std(channel)?).await;
    }
    if std::process::id() == 1 {
        let file = vport()?;
        // SAFETY: a `File` names the same open descriptor for as long as it lives.
        let port = unsafe { AsyncFd::register(file) }?;
        return speak(Pollable(port)).await;
    }
    let behavior = std::env::var("FAKE_AGENT").unwrap_or_default();
    println!("fake agent \x1b[1mstarts\x1b[0m ({behavior})");
    if behavior == "mute" {
        std::future::pending::<()>().await;
    }
    if let Some(file) = behavior.strip_prefix("late:")
        && File::create_new(file).is_ok()
    {
        std::future::pending::<()>().await;
    }
    if behavior == "child" {
        std::process::Command::new("setsid")
            .args(["sh", "-c", "echo $$ > child.pid; exec sleep 300"])
            .current_dir(std::env::args().nth(2).ok_or("no folder")?)
            .spawn()?;
    }
    // SAFETY: whoever starts us passes the channel as descriptor 3, which nobody else owns.
    let channel = unsafe { std::os::unix::net::UnixStream::from(OwnedFd::from_raw_fd(3)) };
    channel.set_nonblocking(true)?;
    speak(tokio::net::UnixStream::from_std(channel)?).await
}

async fn speak(mut channel: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Any> {
    session::accept_handshake(&mut channel).await?;
    let mut acceptor = session::Acceptor::new(channel);
    while let Some(stream) = acceptor.next().await {
        tokio::spawn(async move {
            if let Err(error) = one(stream).await {
                eprintln!("fake agent: {error}");
            }
        });
    }
    Ok(())
}

async fn one(mut stream: Stream) -> Result<(), frame::FrameError> {
    match frame::read_message(&mut stream).await? {
        request @ (AgentRequest::SetUp(_) | AgentRequest::About | AgentRequest::Refresh(_)) => {
            if let AgentRequest::SetUp(set_up) = request {
                eprintln!("fake agent: I am {}", set_up.hostname);
            }
            let ready = Ready {
                agent_version: "fake agent".into(),
                kernel_release: fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
                    .into(),
                uptime_ms: 0,
                unix_time_ns: None,
                laps: Vec::new(),
            };
            frame::write_message(&mut stream, &AgentReply::Ready(ready)).await?;
        }
        AgentRequest::Ping
        | AgentRequest::Prepare(_)
        | AgentRequest::FreeMemory(_)
        | AgentRequest::InstallSecrets(_)
        | AgentRequest::StepClock(_) => {
            frame::write_message(&mut stream, &AgentReply::Done).await?;
        }
        AgentRequest::ShutDown => {
            if std::env::var("FAKE_AGENT").is_ok_and(|behavior| behavior == "stubborn") {
                std::future::pending::<()>().await;
            }
            nix::unistd::sync();
            frame::write_message(&mut stream, &AgentReply::Done).await?;
        }
        AgentRequest::LastUse => {
            let writing = std::env::var("FAKE_AGENT").is_ok_and(|behavior| behavior == "writing");
            let elapsed = begun().elapsed();
            let ms_ago = match writing {
                true if elapsed < WRITING => Some(10),
                true => u64::try_from((elapsed - WRITING).as_millis()).ok(),
                // As long as the file is there, something runs.
                false => in_folder("busy").exists().then_some(0),
            };
            frame::write_message(&mut stream, &AgentReply::Used { ms_ago }).await?;
        }
        AgentRequest::ServicesEnd => {
            if in_folder("served").exists() {
                let state = service(7, ServicePhase::Stopped);
                frame::write_message(&mut stream, &ServiceReply::State(state)).await?;
                frame::write_data(&mut stream, Kind::Output, b"last words\n").await?;
                let end = ServiceReply::LogEnd { truncated: true };
                frame::write_message(&mut stream, &end).await?;
            }
            frame::write_message(&mut stream, &ServiceReply::Done).await?;
        }
        AgentRequest::ServiceWatch(watch) => {
            while !in_folder("served").exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let ready = ServiceReply::State(service(watch.instance, ServicePhase::Running));
            frame::write_message(&mut stream, &ready).await?;
            while in_folder("served").exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let ended = ServiceReply::State(service(watch.instance, ServicePhase::Exited));
            frame::write_message(&mut stream, &ended).await?;
        }
        AgentRequest::Connect(connect) => {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, connect.port)).await;
            let Ok(server) = server else {
                let fault = Fault::new(FaultCode::NotFound, "nobody is there");
                return frame::write_message(&mut stream, &ConnectReply::Failed(fault)).await;
            };
            frame::write_message(&mut stream, &ConnectReply::Connected).await?;
            Connection::new(server).relay(stream).await;
            return Ok(());
        }
        AgentRequest::ServiceStart(_)
        | AgentRequest::ServiceStop(_)
        | AgentRequest::ServiceList
        | AgentRequest::ServiceLogs(_) => {
            let fault = Fault::new(FaultCode::Refused, "the fake agent has no services");
            frame::write_message(&mut stream, &ServiceReply::Failed(fault)).await?;
        }
        AgentRequest::Freeze(_)
        | AgentRequest::StayFrozen(_)
        | AgentRequest::Thaw
        | AgentRequest::List(_)
        | AgentRequest::Read(_)
        | AgentRequest::Change(_)
        | AgentRequest::Export(_)
        | AgentRequest::Place(_)
        | AgentRequest::Diff(_)
        | AgentRequest::TakeLine
        | AgentRequest::ExecAtTerminal(_)
        | AgentRequest::Shell(_) => {
            let fault = Fault::new(
                FaultCode::Refused,
                "the fake agent has neither files nor terminals",
            );
            frame::write_message(&mut stream, &AgentReply::Failed(fault)).await?;
        }
        AgentRequest::Exec(exec) => {
            frame::write_message(&mut stream, &ExecEvent::Started { pid: 1 }).await?;
            let command = match exec.command {
                Command::Shell(agent) => String::from_utf8_lossy(&agent).into_owned(),
                Command::Program(_) => String::new(),
            };
            let exit_code = act(&command, &mut stream).await?;
            let end = ExecEnd {
                oom_killed: false,
                exit_code,
                signal: None,
                timed_out: false,
                duration_ms: 0,
                laps: Vec::new(),
            };
            frame::write_message(&mut stream, &ExecEvent::Ended(end)).await?;
        }
    }
    stream.shutdown().await?;
    Ok(())
}

/// A file by which a test says how things are.
fn in_folder(name: &str) -> PathBuf {
    let folder = std::env::args().nth(2).unwrap_or_else(|| "/".into());
    PathBuf::from(folder).join(name)
}

fn service(instance: u64, phase: ServicePhase) -> ServiceState {
    ServiceState {
        oom_killed: false,
        instance,
        name: "web".into(),
        phase,
        pid: 1,
        ready: true,
        not_ready: None,
        exit_code: None,
        reason: None,
        ended_ms_ago: (phase != ServicePhase::Running).then_some(0),
    }
}

/// `echo` sends input back; `file F` makes F when the asking side goes away; `keep F` makes F and flushes
/// it, `read F` sends it; the rest ends things.
async fn act(command: &str, stream: &mut Stream) -> Result<i32, frame::FrameError> {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("echo", _) => {
            while let Some(frame) = frame::read(stream).await? {
                if frame.kind == Kind::Input {
                    frame::write_data(stream, Kind::Output, &frame.body).await?;
                }
            }
        }
        ("file", file) => {
            while let Ok(Some(_)) = frame::read(stream).await {}
            File::create(file)?;
        }
        ("pour", count) => {
            for _ in 0..count.parse().unwrap_or(1) {
                frame::write_data(stream, Kind::Output, &vec![b'x'; 1 << 20]).await?;
            }
        }
        ("flood", _) => {
            for agent in 0..20_000 {
                println!("flood {agent} 0123456789012345678901234567890123456789");
            }
        }
        ("fill", _) => {
            let mut disk = OpenOptions::new().write(true).open("/dev/vda")?;
            let block: Vec<u8> = (0..1 << 20).map(|at| (at * 31 % 251) as u8 + 1).collect();
            for _ in 0..256 {
                disk.write_all(&block)?;
                disk.sync_data()?;
            }
        }
        ("keep", file) => {
            let mut file = File::create(file)?;
            file.write_all(b"kept")?;
            file.sync_all()?;
        }
        ("read", file) => {
            let Ok(text) = fs::read(file) else {
                return Ok(1);
            };
            frame::write_data(stream, Kind::Output, &text).await?;
        }
        ("own", name) => {
            let folder = PathBuf::from("/own");
            fs::create_dir(&folder)?;
            fs::write(folder.join(name.trim_start_matches('/')), "")?;
            for path in [folder.join(name.trim_start_matches('/')), folder] {
                std::os::unix::fs::chown(path, Some(1000), Some(1000))?;
            }
        }
        ("attribute", link) => {
            std::os::unix::fs::symlink("/anywhere", link)?;
            let link = std::ffi::CString::new(link).map_err(io::Error::other)?;
            let name = c"security.selinux";
            // SAFETY: two C strings, and room for nothing.
            let got = unsafe {
                nix::libc::lgetxattr(link.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0)
            };
            let errno = if got < 0 {
                nix::errno::Errno::last_raw()
            } else {
                0
            };
            frame::write_data(stream, Kind::Output, errno.to_string().as_bytes()).await?;
        }
        ("processors", _) => {
            let count = std::thread::available_parallelism()?.to_string();
            frame::write_data(stream, Kind::Output, count.as_bytes()).await?;
        }
        ("spin", _) => drop(std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        })),
        ("remove", file) => fs::remove_file(file)?,
        ("clock", _) => {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
                .map_err(io::Error::from)?;
            let text = format!("{}.{:09}", now.tv_sec(), now.tv_nsec());
            frame::write_data(stream, Kind::Output, text.as_bytes()).await?;
        }
        ("poweroff", _) => drop(nix::sys::reboot::reboot(
            nix::sys::reboot::RebootMode::RB_POWER_OFF,
        )),
        ("reboot", _) => drop(nix::sys::reboot::reboot(
            nix::sys::reboot::RebootMode::RB_AUTOBOOT,
        )),
        ("panic", _) => fs::write("/proc/sysrq-trigger", "c")?,
        ("exit", code) => std::process::exit(code.parse().unwrap_or(7)),
        _ => return Ok(127),
    }
    Ok(0)
}

fn init() -> Result<(), Any> {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(Some(kind), at, Some(kind), MsFlags::empty(), none)?;
    }
    for module in fs::read_to_string("/modules/order")?.lines() {
        let name = module.rsplit('/').next().unwrap_or(module);
        let name = name.strip_suffix(".ko").unwrap_or(name);
        let file = File::open(format!("/modules/{name}.ko"))?;
        nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty())?;
    }
    Ok(())
}

fn vport() -> Result<File, Any> {
    for _ in 0..500 {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
        {
            let entry = entry?;
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            // The port shows itself before it has its name and its device file.
            if name.trim() == "pyro.agent"
                && let Ok(port) = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(nix::libc::O_NONBLOCK)
                    .open(format!("/dev/{}", entry.file_name().to_string_lossy()))
            {
                return Ok(port);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("no port named pyro.agent".into())
}

/// A character device that can be polled.
struct Pollable(AsyncFd<File>);

impl AsyncRead for Pollable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().read(into.initialize_unfilled())) {
                Ok(result) => return Poll::Ready(result.map(|count| into.advance(count))),
                Err(_) => continue,
            }
        }
    }
}

impl AsyncWrite for Pollable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| fd.get_ref().write(data)) {
                Ok(result) => return Poll::Ready(result),
                Err(_) => continue,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
