//! Drives an agent by hand, for development: connects to the socket that a virtual machine
//! monitor keeps for the agent's port, and carries out actions in one session.
//!
//! ```text
//! drive <socket> setup 'sh:git --version' 'run:true' 'bench:20:true' 'count:yes | head -c 1G' shutdown
//! drive <socket> setup 'baseline:project.tar' diff:5 list: export: freeze:1000 thaw
//! ```

mod files;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use pyro_wire::agent::{AgentReply, AgentRequest, SetUp};
use pyro_wire::exec::{Command, Exec, ExecEvent};
use pyro_wire::frame::{self, FrameError, Kind};
use pyro_wire::session::{self, Opener};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error("usage: drive <socket> <action>…")]
    Usage,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Session(#[from] session::SessionError),
    #[error("no answer to the greeting")]
    Silent,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match drive().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drive: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn drive() -> Result<(), DriveError> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or(DriveError::Usage)?;
    let began = Instant::now();
    let mut channel = connect(&socket).await?;
    timeout(Duration::from_secs(60), session::handshake(&mut channel))
        .await
        .map_err(|_| DriveError::Silent)??;
    println!("greeted after {:.1?}", began.elapsed());
    let (opener, session) = session::host(channel);
    tokio::spawn(session);
    for action in arguments {
        act(&opener, &action).await?;
    }
    Ok(())
}

/// The monitor may need a moment to create the socket.
async fn connect(socket: &str) -> Result<UnixStream, DriveError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn act(opener: &Opener, action: &str) -> Result<(), DriveError> {
    let (verb, rest) = action.split_once(':').unwrap_or((action, ""));
    let began = Instant::now();
    match verb {
        "setup" => println!("{:?}", ask(opener, &AgentRequest::SetUp(set_up()?)).await?),
        "ping" => println!("{:?}", ask(opener, &AgentRequest::Ping).await?),
        "shutdown" => println!("{:?}", ask(opener, &AgentRequest::ShutDown).await?),
        "sleep" => sleep(Duration::from_millis(rest.parse().unwrap_or(0))).await,
        "sh" => exec(opener, shell(rest), None, true).await?,
        "run" => exec(opener, program(rest), None, true).await?,
        "count" => exec(opener, shell(rest), None, false).await?,
        "limit" => {
            let (limit_ms, line) = rest.split_once(':').ok_or(DriveError::Usage)?;
            exec(opener, shell(line), limit_ms.parse().ok(), true).await?;
        }
        "side-by-side" => {
            let (count, line) = rest.split_once(':').ok_or(DriveError::Usage)?;
            let mut all = JoinSet::new();
            for _ in 0..count.parse().unwrap_or(1) {
                let (opener, line) = (opener.clone(), line.to_owned());
                all.spawn(async move { exec(&opener, shell(&line), None, false).await });
            }
            while let Some(Ok(ended)) = all.join_next().await {
                ended?;
            }
        }
        "bench" | "bench-sh" => {
            let (count, line) = rest.split_once(':').ok_or(DriveError::Usage)?;
            bench(opener, verb == "bench-sh", count.parse().unwrap_or(1), line).await?;
        }
        _ if files::act(opener, verb, rest).await? => {}
        _ => return Err(DriveError::Usage),
    }
    println!("[{action}: {:.1?}]", began.elapsed());
    Ok(())
}

async fn ask(opener: &Opener, request: &AgentRequest) -> Result<AgentReply, DriveError> {
    let mut stream = opener.open().await?;
    frame::write_message(&mut stream, request).await?;
    Ok(frame::read_message(&mut stream).await?)
}

fn set_up() -> Result<SetUp, DriveError> {
    let mut entropy = vec![0; 64];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut entropy)?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(SetUp {
        env: Vec::new(),
        user: None,
        new_disk: false,
        hostname: "driven".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        unix_time_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        entropy,
        timings: false,
    })
}

fn shell(line: &str) -> Command {
    Command::Shell(line.as_bytes().to_vec().into())
}

fn program(line: &str) -> Command {
    let words = line.split(' ').map(|word| word.as_bytes().to_vec().into());
    Command::Program(words.collect())
}

async fn exec(
    opener: &Opener,
    command: Command,
    timeout_ms: Option<u64>,
    show: bool,
) -> Result<(), DriveError> {
    let request = AgentRequest::Exec(Exec {
        timeout_ms,
        ..Exec::new(command)
    });
    let began = Instant::now();
    let mut stream = opener.open().await?;
    frame::write_message(&mut stream, &request).await?;
    let mut bytes = 0_u64;
    while let Some(frame) = frame::read(&mut stream).await? {
        match frame.kind {
            Kind::Message => match frame.message()? {
                ExecEvent::Started { .. } => {}
                event if show => println!("{event:?}"),
                _ => {}
            },
            _ => {
                bytes += frame.body.len() as u64;
                if show {
                    std::io::stdout().write_all(&frame.body)?;
                }
            }
        }
    }
    if !show {
        let seconds = began.elapsed().as_secs_f64();
        println!("{bytes} bytes, {:.1} MB/s", bytes as f64 / 1e6 / seconds);
    }
    Ok(())
}

/// How long a command takes from request to last frame: median, best and worst.
async fn bench(opener: &Opener, sh: bool, count: usize, line: &str) -> Result<(), DriveError> {
    let mut times = Vec::new();
    for _ in 0..count {
        let command = if sh { shell(line) } else { program(line) };
        let request = AgentRequest::Exec(Exec::new(command));
        let began = Instant::now();
        let mut stream = opener.open().await?;
        frame::write_message(&mut stream, &request).await?;
        loop {
            let Some(frame) = frame::read(&mut stream).await? else {
                break;
            };
            if frame.kind == Kind::Message && matches!(frame.message()?, ExecEvent::Ended(_)) {
                break;
            }
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    if let (Some(best), Some(worst)) = (times.first(), times.last()) {
        let median = times[times.len() / 2];
        println!("median {median:.1?}, best {best:.1?}, worst {worst:.1?}");
    }
    Ok(())
}
