//! A template in a folder of its own, and VMs out of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyro_wire::agent::Prepare;
use pyro_wire::exec::{Command as GuestCommand, ExecEvent};
use pyro_wire::fault::Fault;
use pyro_wire::frame::Kind;
use pyro_wire::launch::{DiskFormat, DiskLayer, Qemu};
use pyro_wire::template::{TemplateBuilt, TemplateSpec};

use super::{Harness, Shim, example, exec, guest, receive};

pub(crate) struct Template {
    outer: tempfile::TempDir,
    qemu: Qemu,
    mounted: bool,
}

impl Template {
    pub(crate) fn new(mounted: bool) -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("template, saved")).unwrap();
        let qemu = guest::real(outer.path());
        Self {
            outer,
            qemu,
            mounted,
        }
    }

    /// A mounted one that is saved.
    pub(crate) fn mounted() -> Self {
        Self::new(true).saved()
    }

    fn saved(self) -> Self {
        self.save().unwrap();
        self
    }

    /// A bare one, which those who change nothing of it have in common: each costs a boot.
    pub(crate) fn bare() -> Arc<Self> {
        // Its folder goes with the last of them.
        static BARE: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut shared = BARE.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::new(false).saved());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.outer.path().join("template, saved")
    }

    pub(crate) fn vmlinux(&self) -> Result<PathBuf, String> {
        self.qemu.vmlinux.clone()
    }

    pub(crate) fn edit_qemu(mut self, edit: impl FnOnce(&mut Qemu)) -> Self {
        edit(&mut self.qemu);
        self
    }

    pub(crate) fn save(&self) -> Result<TemplateBuilt, Fault> {
        let mut builder = self.builder();
        // Taken, or waiting for the output would close it.
        let _owner = builder.stdin.take();
        let Output { status, stdout, .. } = builder.wait_with_output().unwrap();
        if status.success() {
            Ok(serde_json::from_slice(&stdout).unwrap())
        } else {
            Err(serde_json::from_slice(&stdout).unwrap())
        }
    }

    pub(crate) fn builder(&self) -> Child {
        let warm_up = GuestCommand::Shell(b"echo warm > /root/warm".to_vec().into());
        let failing = GuestCommand::Program(vec![b"/nowhere".to_vec().into()]);
        let leaving = GuestCommand::Shell(b"setsid sleep 1000 &".to_vec().into());
        let spec = TemplateSpec {
            protocol: pyro_wire::PROTOCOL,
            qemu: self.qemu.clone(),
            prepare: self.mounted.then(|| Prepare {
                warm_up: vec![warm_up, failing, leaving],
            }),
            folder: self.folder(),
            // Nothing here waits for it to pass, and a busy host may be slow.
            boot_deadline_ms: 120_000,
        };
        let path = self.outer.path().join("spec.json");
        fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        Command::new(example("shim"))
            .arg("template")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A harness for a VM out of it.
    pub(crate) fn harness(&self, hostname: &str) -> Harness {
        let harness = Harness::new();
        let mut qemu = self.qemu.clone();
        qemu.template = Some(self.folder());
        let below = qemu.disk.last().unwrap().path.clone();
        let top = harness.workspace().join("vm.qcow2");
        guest::layer(&below, &top);
        qemu.disk.push(DiskLayer {
            path: top,
            format: DiskFormat::Qcow2,
        });
        harness.edit(|spec| {
            spec.hostname = hostname.into();
            spec.machine = pyro_wire::launch::Machine::Qemu(qemu);
        })
    }
}

/// What a command in a VM writes, without the last line feed.
pub(crate) fn output(harness: &Harness, command: &str) -> String {
    let mut agent = harness.agent();
    exec(&mut agent, command);
    let mut output = Vec::new();
    while let Some(frame) = receive(&mut agent) {
        if frame.kind == Kind::Output {
            output.extend(frame.body);
        } else if frame.kind == Kind::Message
            && let ExecEvent::Failed(fault) = frame.message().unwrap()
        {
            panic!("{fault}");
        }
    }
    String::from_utf8(output).unwrap().trim_end().to_owned()
}

/// The processes that have this folder on their command line.
pub(crate) fn processes(folder: &Path) -> Vec<u32> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains(folder) {
            found.push(pid);
        }
    }
    found
}

/// Starts VMs at once and waits until all of them run.
pub(crate) fn start_all(harnesses: &[Harness]) -> Vec<Shim> {
    let mut shims: Vec<Shim> = harnesses.iter().map(Harness::start).collect();
    for shim in &mut shims {
        assert!(shim.ready().resumed);
    }
    shims
}
