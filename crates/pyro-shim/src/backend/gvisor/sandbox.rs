//! The first process of a sandbox's namespaces, until it becomes runsc, or the agent where only files are
//! served; this is `pyro shim --sandbox PLAN`.
//!
//! It makes a world that holds what that one needs and nothing else of the host, and moves into it:
//!
//! ```text
//! /runsc /agent       the two programs
//! /disk               the layers as one file system
//! /bundle /state      what runsc is told, and what it notes for itself
//! /proc /dev          of these namespaces; the few devices that programs count on
//! ```
//!
//! All of it is in memory and in this mount namespace, so it is gone with the sandbox, however that
//! ends.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use pyro_namespace::{overlay, root};
use pyro_wire::launch::Runs;

use super::bundle::{AGENT as GUEST_AGENT, Config, MOUNT_FOLDERS, OOM_SCORE};
use super::limits::tasks;
use super::plan::Plan;
use super::{attributes, files, link};
use crate::backend::control_group::ControlGroup;
use crate::random;

const RUNSC: &str = "/runsc";
const STATE: &str = "/state";
/// What runsc calls the only sandbox in its state.
const NAME: &str = "vm";

/// What this process exits with when it becomes nobody else.
pub(super) const FAILED: u8 = 125;

pub(super) const AGENT: &str = "/agent";
pub(super) const DISK: &str = "/disk";
const BOTTOM: &str = "/bottom";
const CHANGES: &str = "/changes";
const OVERLAY_IN_CHANGES: &str = "--overlay2=root:dir=/changes";
const BUNDLE: &str = "/bundle";
/// Where runsc makes the world of the guest's kernel, which has nothing in it at all.
const TEMPORARY: &str = "/tmp";

const NONE: Option<&str> = None;

#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not be made: {step}: {source}")]
pub(super) struct SandboxError {
    step: &'static str,
    source: io::Error,
}

pub(super) fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError {
        step,
        source: source.into(),
    }
}

/// See [`crate::sandbox`].
pub(crate) fn run(plan: &OsStr) -> ExitCode {
    let plan = plan
        .to_str()
        .and_then(|plan| serde_json::from_str(plan).ok());
    let Some(plan): Option<Plan> = plan else {
        eprintln!("this is no plan of a sandbox");
        return FAILED.into();
    };
    let Err(error) = become_guest(&plan);
    // SAFETY: whoever made the plan passed this descriptor for the purpose, and nobody else uses it.
    let mut log = unsafe { File::from_raw_fd(plan.log) };
    let _ = writeln!(log, "{error}");
    FAILED.into()
}

fn become_guest(plan: &Plan) -> Result<Infallible, SandboxError> {
    if std::process::id() != 1 {
        let error = io::Error::other("this is not the first process of a PID namespace");
        return Err(step("its start")(error));
    }
    // Both are wishes, which some containers do not grant: in a group or not, the sandbox is watched.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE.to_string());
    // SAFETY: whoever made the plan passed this descriptor for the purpose, and nobody else uses it.
    let entrance = plan
        .control_group
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let _ = entrance.map(ControlGroup::enter);
    make_world(plan)?;
    if let Some(to) = plan.link {
        link::make(to, &plan.place.join("proc")).map_err(step("making its network interface"))?;
    }
    enter_world(&plan.place)?;
    // A wish too.
    let _ = keep_to_processors(plan.processors);
    match plan.runs {
        Runs::Sandbox => become_runsc(plan),
        Runs::Files => files::become_agent(plan.mem_mib),
    }
}

fn become_runsc(plan: &Plan) -> Result<Infallible, SandboxError> {
    tasks::limit(plan.mem_mib).map_err(step("limiting its processes"))?;
    // Nobody in here gets rights from a file any more.
    nix::sys::prctl::set_no_new_privs().map_err(step("giving up new rights"))?;
    if plan.hide_attributes {
        attributes::hide().map_err(step("hiding attributes of files"))?;
    }
    let mut command = Command::new(RUNSC);
    command.env_clear().args([
        "--root",
        STATE,
        // Control groups are root's, and the guest's kernel has its own.
        "--ignore-cgroups",
        "--platform=systrap",
        // Or the guest's root, which has all rights of its own kernel, could not even ping. What it
        // sends raw goes through the router like the rest.
        "--net-raw",
        // The router's end takes one packet at a time, whose checksums are right.
        "--gso=false",
        "--software-gso=false",
        // Files are opened by a process apart, so the guest's kernel needs no right to any.
        "--directfs=false",
    ]);
    command.args(match plan.changes {
        // Nobody changes what is below.
        Some(_) => [OVERLAY_IN_CHANGES, "--file-access=exclusive"],
        // Changes lie in the top layer. What is remembered of a file by one of its names would be
        // wrong after a change by another.
        None => ["--overlay2=none", "--file-access=shared"],
    });
    command.arg(match plan.link {
        Some(_) => "--network=sandbox",
        None => "--network=none",
    });
    command.arg(format!("--log-fd={}", plan.log));
    command.args(["run", "--bundle", BUNDLE, NAME]);
    let error = command.exec();
    let error = match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            error.kind(),
            format!(
                "{error}: it needs a loader or an interpreter, and there is none in here; gVisor's own builds and Debian's are static"
            ),
        ),
        _ => error,
    };
    Err(step("the start of runsc")(error))
}

/// Puts the world together at its place, which the rest of the host does not see.
fn make_world(plan: &Plan) -> Result<(), SandboxError> {
    let place = plan.place.as_path();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(step("keeping its mounts to itself"))?;
    mount(
        Some("tmpfs"),
        place,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=700,size=64m"),
    )
    .map_err(step("mounting a file system in memory"))?;
    let inside = |path: &str| place.join(path.trim_start_matches('/'));
    for folder in [
        DISK, BUNDLE, STATE, "/proc", "/dev", "/layers", BOTTOM, TEMPORARY,
    ] {
        fs::create_dir(inside(folder)).map_err(step("making its folders"))?;
    }
    let runsc = (plan.runs == Runs::Sandbox).then_some((&plan.runsc, RUNSC));
    for (program, name) in runsc.into_iter().chain([(&plan.agent, AGENT)]) {
        bind_file(program, &inside(name))
            .and_then(|()| root::forbid_writing_here(&inside(name)))
            .map_err(step("taking its programs in"))?;
    }
    if let Some(layers) = &plan.layers {
        let bottom = inside(BOTTOM);
        mount_points(&bottom).map_err(step("making the places of mounts"))?;
        overlay::mount_layers(layers, &bottom, &inside("/layers"), &inside(DISK))
            .map_err(step("mounting the disk"))?;
    }
    match plan.runs {
        Runs::Sandbox => furnish(plan),
        Runs::Files => Ok(()),
    }
}

/// Puts what runsc needs into the world.
fn furnish(plan: &Plan) -> Result<(), SandboxError> {
    let place = plan.place.as_path();
    let inside = |path: &str| place.join(path.trim_start_matches('/'));
    for device in [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
    ] {
        bind_file(Path::new(device), &inside(device)).map_err(step("taking devices in"))?;
    }
    mount(
        Some("proc"),
        &inside("/proc"),
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        NONE,
    )
    .map_err(step(
        "mounting /proc, which a container must not hide in parts (`docker run --security-opt \
         systempaths=unconfined` shows all of it)",
    ))?;
    if let Some(changes) = &plan.changes {
        let to = inside(CHANGES);
        fs::create_dir(&to)
            .and_then(|()| Ok(mount(Some(changes), &to, NONE, MsFlags::MS_BIND, NONE)?))
            .map_err(step("taking the folder for changes in"))?;
    }
    show_memory(place, plan.mem_mib).map_err(step("telling runsc of the guest's memory"))?;
    let config = Config::new(
        &plan.hostname,
        Path::new(DISK),
        Path::new(AGENT),
        plan.link.is_some(),
        plan.mem_mib,
    );
    let written = serde_json::to_vec(&config)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(inside(BUNDLE).join("config.json"), text));
    written.map_err(step("writing its configuration"))
}

/// Has runsc find as much memory as the guest may have: what it finds it shows to the guest.
fn show_memory(place: &Path, mem_mib: u32) -> io::Result<()> {
    let file = place.join("meminfo");
    let kib = u64::from(mem_mib) * 1024;
    fs::write(&file, format!("MemTotal:       {kib:8} kB\n"))?;
    bind(&file, &place.join("proc/meminfo"))
}

/// What lies below the disk: the places of mounts, which nobody sees below what is mounted there.
fn mount_points(bottom: &Path) -> io::Result<()> {
    let inside = |path: &str| bottom.join(path.trim_start_matches('/'));
    for folder in MOUNT_FOLDERS {
        fs::create_dir(inside(folder))?;
    }
    File::create(inside(GUEST_AGENT)).map(drop)
}

/// Makes the place the root of everything, and lets go of what was the root.
fn enter_world(place: &Path) -> Result<(), SandboxError> {
    let entering = "moving into its world";
    root::enter(place).map_err(step(entering))?;
    // The agent of a guest is looked up by ids without rights on the host.
    fs::set_permissions("/", fs::Permissions::from_mode(0o755)).map_err(step(entering))
}

fn bind_file(from: &Path, to: &Path) -> io::Result<()> {
    File::create(to)?;
    bind(from, to)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE)?;
    Ok(())
}

/// Keeps to as many processors as the guest may have: gVisor shows its guest as many as it may use
/// itself.
fn keep_to_processors(count: u32) -> io::Result<()> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let usable: Vec<usize> = (0..CpuSet::count())
        .filter(|number| all.is_set(*number).unwrap_or(false))
        .collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count >= usable.len() {
        return Ok(());
    }
    // Not the first ones, which all sandboxes would share.
    let [random] = random::bytes::<1>()?;
    let mut chosen = CpuSet::new();
    let from = usize::from(random) % usable.len();
    for number in usable.iter().cycle().skip(from).take(count) {
        chosen.set(*number)?;
    }
    sched_setaffinity(Pid::from_raw(0), &chosen)?;
    Ok(())
}
