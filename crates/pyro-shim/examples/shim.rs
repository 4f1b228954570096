//! Tries the shim by hand, without the engine.
//!
//! ```text
//! shim run <dir>                                   what `pyro shim <dir>` will be
//! shim template <spec.json>
//! shim probe <qemu> <kernel> <initramfs> <cache> [fresh]
//! shim probe-sandbox <runsc> <agent> <cache> [fresh]
//! shim bench <count> <launch.json> [base-disk]     boots in a row, with a table at the end
//! shim ask <dir> status|stop|remove|exec <line>    a client; exec sends its input along
//! ```

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::io::AllowStdIo;
use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::{self, Exec};
use pyro_wire::frame::{self, Frame, Kind};
use pyro_wire::launch::LaunchEvent;
use pyro_wire::shim::{CONTROL_SOCKET, ShimReply, ShimRequest, Stop};
use tokio_util::compat::FuturesAsyncReadCompatExt;

type Any = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["template", spec] => return pyro_shim::save_template(Path::new(spec)),
        // As the shim calls itself.
        ["shim", "--sandbox", plan] => return pyro_shim::sandbox(plan.as_ref()),
        ["shim", "--jail", plan, program, rest @ ..] => {
            let rest: Vec<&OsStr> = rest.iter().map(OsStr::new).collect();
            return pyro_shim::jail(plan.as_ref(), program.as_ref(), &rest);
        }
        ["shim", "--network", plan, network] => return pyro_shim::network(plan.as_ref(), network),
        ["shim", "--files", sandbox, mem_mib] => {
            let number = "as the shim numbers it";
            let sandbox = sandbox.parse().expect(number);
            return pyro_shim::join_files(sandbox, mem_mib.parse().expect(number));
        }
        ["probe-sandbox-json", runsc, agent, cache] => {
            let (runsc, agent, cache) = (runsc.as_ref(), agent.as_ref(), cache.as_ref());
            let answer = pyro_shim::probe_sandbox(runsc, agent, cache, false);
            serde_json::to_string(&answer)
                .map(|text| println!("{text}"))
                .map_err(Any::from)
        }
        ["probe-sandbox", runsc, agent, cache, rest @ ..] => {
            let begun = Instant::now();
            let (runsc, agent, cache) = (runsc.as_ref(), agent.as_ref(), cache.as_ref());
            let answer = pyro_shim::probe_sandbox(runsc, agent, cache, !rest.is_empty());
            println!("{answer:#?}\nin {:?}", begun.elapsed());
            Ok(())
        }
        ["run", dir] => return pyro_shim::run(Path::new(dir)),
        ["probe", qemu, kernel, initramfs, cache, rest @ ..] => {
            let begun = Instant::now();
            let path = Path::new;
            let fresh = !rest.is_empty();
            let answer = pyro_shim::probe(
                path(qemu),
                path(kernel),
                path(initramfs),
                path(cache),
                fresh,
            );
            println!("{answer:#?}\nin {:?}", begun.elapsed());
            Ok(())
        }
        ["bench", count, launch, base @ ..] => {
            bench(count, Path::new(launch), base.first().copied())
        }
        ["ask", dir, question @ ..] => ask(Path::new(dir), question),
        _ => Err("see the top of examples/shim.rs".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Boots `count` times in folders of their own; `base` gets a fresh qcow2 layer each time.
fn bench(count: &str, launch: &Path, base: Option<&str>) -> Result<(), Any> {
    let launch = std::fs::read_to_string(launch)?;
    let mut times = Vec::new();
    let mut oddities = Vec::new();
    for round in 0..count.parse::<u32>()? {
        let dir = std::env::temp_dir().join(format!("shim-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("launch.json"), &launch)?;
        if let Some(base) = base {
            let made = Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base])
                .arg(dir.join("top.qcow2"))
                .status()?;
            assert!(made.success(), "qemu-img failed");
        }
        let begun = Instant::now();
        let mut shim = start(&dir)?;
        let mut events = shim.stdout.take().ok_or("no pipe")?;
        loop {
            match event(&mut events)? {
                Some(LaunchEvent::Ready(running)) => {
                    times.push(begun.elapsed());
                    if running.boot_attempts != 1 {
                        oddities.push(format!("{round}: {} attempts", running.boot_attempts));
                    }
                    break;
                }
                Some(LaunchEvent::Note(note)) => oddities.push(format!("{round}: {note}")),
                other => {
                    oddities.push(format!("{round}: {other:?}"));
                    break;
                }
            }
        }
        let stop = Stop {
            grace_ms: 0,
            remove: true,
            at_once: false,
        };
        if let Ok(mut socket) = UnixStream::connect(dir.join(CONTROL_SOCKET)) {
            send(&mut socket, &ShimRequest::Stop(stop))?;
            let _ = receive(&mut socket)?;
        }
        shim.wait()?;
        if dir.exists() {
            oddities.push(format!("{round}: the folder is still there"));
            std::fs::remove_dir_all(&dir)?;
        }
    }
    times.sort();
    let at = |part: usize| times.get(part * times.len().saturating_sub(1) / 100);
    println!(
        "boots {}  min {:?}  median {:?}  p90 {:?}  max {:?}",
        times.len(),
        at(0),
        at(50),
        at(90),
        at(100)
    );
    for oddity in oddities {
        println!("{oddity}");
    }
    Ok(())
}

fn start(dir: &Path) -> Result<Child, Any> {
    Ok(Command::new(std::env::current_exe()?)
        .arg("run")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

fn ask(dir: &Path, question: &[&str]) -> Result<(), Any> {
    let mut socket = UnixStream::connect(dir.join(CONTROL_SOCKET))?;
    let stop = |remove| {
        ShimRequest::Stop(Stop {
            grace_ms: 3000,
            remove,
            at_once: false,
        })
    };
    match question {
        ["status"] => send(&mut socket, &ShimRequest::Status)?,
        ["stop"] => send(&mut socket, &stop(false))?,
        ["remove"] => send(&mut socket, &stop(true))?,
        ["exec", command] => {
            send(&mut socket, &ShimRequest::Agent)?;
            println!(
                "{:?}",
                receive(&mut socket)?.map(|frame| frame.message::<ShimReply>())
            );
            let command = exec::Command::Shell(command.as_bytes().to_vec().into());
            send(&mut socket, &AgentRequest::Exec(Exec::new(command)))?;
        }
        _ => return Err("unknown question".into()),
    }
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    while let Some(frame) = receive(&mut socket)? {
        match frame.kind {
            Kind::Message if question[0] == "exec" => {
                println!("{:?}", frame.message::<pyro_wire::exec::ExecEvent>());
            }
            Kind::Message => println!("{:#?}", frame.message::<ShimReply>()),
            _ => std::io::stdout().write_all(&frame.body)?,
        }
    }
    Ok(())
}

fn event(pipe: &mut impl Read) -> Result<Option<LaunchEvent>, Any> {
    Ok(receive(pipe)?.map(|frame| frame.message()).transpose()?)
}

/// Blocking reads and writes: with them every future is ready at once.
fn receive(from: &mut impl Read) -> Result<Option<Frame>, Any> {
    let mut from = AllowStdIo::new(from).compat();
    Ok(frame::read(&mut from).now_or_never().ok_or("not ready")??)
}

fn send(to: &mut impl Write, message: &impl serde::Serialize) -> Result<(), Any> {
    let mut bytes = Vec::new();
    frame::write_message(&mut bytes, message)
        .now_or_never()
        .ok_or("not ready")??;
    Ok(to.write_all(&bytes)?)
}
