//! Cold boots of pyro next to plain QEMU, in one run, contenders taking turns. Prints a table.
//!
//! "Plain QEMU" is the same kernel on the same machine type with neither initramfs nor disk: from
//! the start of QEMU to the panic for want of a root file system. It is the floor under every cold
//! boot of this kernel here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const ROUNDS: usize = 100;

/// A plain boot that takes longer has hung.
const HUNG: Duration = Duration::from_secs(60);

pub(crate) fn run(rounds: Option<&str>) -> Result<()> {
    let rounds = rounds.map_or(Ok(ROUNDS), str::parse).context("ROUNDS")?;
    let pyro = pyro()?;
    let kernel = kernel(&pyro)?;
    let accelerator = accelerator(&pyro)?;

    let mut rows = Vec::new();
    for (name, args) in [
        ("pyro --version", &["--version"][..]),
        ("pyro env list", &["env", "list"]),
    ] {
        let times = (0..20).map(|_| time(Command::new(&pyro).args(args)));
        rows.push((name.to_owned(), times.collect::<Result<_>>()?));
    }

    let (mut whole, mut boots, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let (mut resumed, mut resumes) = (Vec::new(), Vec::new());
    // Makes the template.
    run_true(&pyro, "on")?;
    let (mut tried_again, mut hung) = (0, 0);
    for _ in 0..rounds {
        let started = Instant::now();
        let result = run_true(&pyro, "on")?;
        resumed.push(started.elapsed());
        ensure!(result["resumed"] == true, "not resumed: {result}");
        resumes.push(Duration::from_millis(
            result["boot_ms"].as_u64().unwrap_or(0),
        ));
        let started = Instant::now();
        let result = run_true(&pyro, "off")?;
        whole.push(started.elapsed());
        boots.push(Duration::from_millis(
            result["boot_ms"].as_u64().unwrap_or(0),
        ));
        tried_again += u64::from(result["boot_attempts"] != 1);
        match plain_boot(&kernel, &accelerator)? {
            Some(time) => plain.push(time),
            None => hung += 1,
        }
    }
    rows.push(("pyro run debian:12 -- true".to_owned(), resumed));
    rows.push((
        "  of which: shim start to agent's answer".to_owned(),
        resumes,
    ));
    rows.push(("the same without template (cold boot)".to_owned(), whole));
    rows.push(("  of which: shim start to agent's answer".to_owned(), boots));
    rows.push(("plain QEMU, same kernel, to its panic".to_owned(), plain));

    println!("accelerator: {accelerator}; rounds: {rounds}; milliseconds");
    println!();
    println!("| what | median | min | 95 % | max | n |");
    println!("|---|---|---|---|---|---|");
    for (name, times) in rows {
        println!("{}", row(&name, times));
    }
    println!();
    println!("boots of pyro that were given up and tried again: {tried_again} of {rounds}");
    println!("plain boots that hung: {hung} of {rounds}");
    println!("agent: {}", agent(&pyro)?);
    Ok(())
}

fn pyro() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let triple = Command::new("rustc").arg("-vV").output()?.stdout;
    let triple = String::from_utf8(triple)?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc names no host")?;
    let pyro = target.join(triple).join("release/pyro");
    ensure!(pyro.is_file(), "{} is missing: make build", pyro.display());
    Ok(pyro)
}

fn json(command: &mut Command) -> Result<Value> {
    let output = command.stdin(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{command:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Runs a command in a fresh VM, on a template or without.
fn run_in_vm(pyro: &Path, templates: &str, command: &str) -> Result<Value> {
    let run = ["run", "debian:12", "--mem-mib", "256", "--json", "--"];
    let result = json(
        Command::new(pyro)
            .env("PYRO_TEMPLATES", templates)
            .args(run)
            .arg(command),
    )?;
    ensure!(result["exit_code"] == 0, "{result}");
    Ok(result)
}

fn run_true(pyro: &Path, templates: &str) -> Result<Value> {
    run_in_vm(pyro, templates, "true")
}

fn kernel(pyro: &Path) -> Result<PathBuf> {
    let pulled = json(Command::new(pyro).args(["env", "pull", "debian:12", "--json"]))?;
    let kernel = pulled["kernel_image"].as_str().context("no kernel_image")?;
    Ok(kernel.into())
}

fn accelerator(pyro: &Path) -> Result<String> {
    let result = run_true(pyro, "off")?;
    Ok(result["accelerator"]
        .as_str()
        .context("no accelerator")?
        .to_owned())
}

fn agent(pyro: &Path) -> Result<String> {
    let size = std::fs::metadata(pyro.with_file_name("pyro-agent"))?.len();
    let result = run_in_vm(pyro, "on", "grep VmRSS /proc/1/status")?;
    let resident = result["stdout"]
        .as_str()
        .unwrap_or_default()
        .trim()
        .to_owned();
    Ok(format!(
        "{} KiB on disk, in the guest {resident}",
        size / 1024
    ))
}

fn time(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(started.elapsed())
}

/// The time of one boot; `None` when it hung.
fn plain_boot(kernel: &Path, accelerator: &str) -> Result<Option<Duration>> {
    let cpu = if accelerator == "kvm" {
        "host"
    } else {
        "Haswell-noTSX"
    };
    let started = Instant::now();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-M",
            "q35",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-accel", accelerator, "-cpu", cpu, "-m", "256", "-kernel"])
        .arg(kernel)
        .args(["-append", "console=ttyS0 quiet panic=-1", "-serial", "null"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    loop {
        if let Some(status) = qemu.try_wait()? {
            if !status.success() {
                bail!("plain QEMU ended with {status}");
            }
            return Ok(Some(started.elapsed()));
        }
        if started.elapsed() > HUNG {
            qemu.kill()?;
            qemu.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn row(name: &str, mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() as f64 - 1.0) * share).round() as usize;
        times.get(index).map_or_else(
            || "-".to_owned(),
            |time| {
                let ms = time.as_secs_f64() * 1000.0;
                if ms < 100.0 {
                    format!("{ms:.1}")
                } else {
                    format!("{ms:.0}")
                }
            },
        )
    };
    format!(
        "| {name} | {} | {} | {} | {} | {} |",
        at(0.5),
        at(0.0),
        at(0.95),
        at(1.0),
        times.len()
    )
}
