//! Builds one template: a shim boots a guest, prepares it and freezes it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pyro_api::{Error, ErrorCode};
use pyro_catalog::Installed;
use pyro_wire::PROTOCOL;
use pyro_wire::agent::{Command as GuestCommand, Prepare};
use pyro_wire::fault::Fault;
use pyro_wire::launch::Qemu;
use pyro_wire::template::{TemplateBuilt, TemplateSpec};
use tokio::process::Command;
use tokio::time::timeout;

use super::identity::Identity;
use super::shelf::{Facts, GUEST};
use super::{Shape, Template};
use crate::config::on_path;
use crate::engine::Engine;
use crate::error::{catalog_failed, host_io};
use crate::machine::start::QEMU;
use crate::machine::{disk, launch};

/// File name of the launch file inside the folder of a build.
const SPEC: &str = "spec.json";

/// What a template's guest does before it is frozen, so that its page cache holds what the first
/// commands of most VMs read.
const WARM_UP: &[&str] = &[
    "true",
    "ls -la / >/dev/null",
    "command -v git && git --version",
    "command -v python3 && python3 -c 'import json, os, re, subprocess, sys; print(1)'",
];

/// Beyond two boots: the KVM probe, the warm-up, and writing the memory of a large guest.
const SLACK: Duration = Duration::from_secs(120);

impl Engine {
    pub(super) async fn build_template(
        &self,
        installed: &Installed,
        shape: Shape,
        identity: &Identity,
    ) -> Result<Template, Error> {
        let what = "A template could not be built";
        let failed = |error: std::io::Error| host_io(what, &error);
        let key = identity.key();
        let shelf = Arc::new(self.shelf());
        let lock = {
            let (shelf, key) = (Arc::clone(&shelf), key.clone());
            tokio::task::spawn_blocking(move || shelf.lock(&key))
                .await
                .map_err(|error| Error::new(ErrorCode::Internal, what).caused_by(&error))?
                .map_err(failed)?
        };
        if let Some(template) = shelf.find(&key) {
            return Ok(template);
        }
        let partial = shelf.partial().map_err(failed)?;
        let folder = partial.folder();
        disk::create_layer(&disk::own_layer(folder), installed).map_err(failed)?;
        std::fs::create_dir(folder.join(GUEST)).map_err(failed)?;
        let agent = self.config().agent()?;
        let spec = TemplateSpec {
            protocol: PROTOCOL,
            qemu: Qemu {
                binary: on_path(QEMU).unwrap_or_else(|| QEMU.into()),
                accelerator: self.config().accelerator,
                probe_cache: self.probe_cache(),
                kernel: installed.kernel.image.clone(),
                initramfs: self
                    .catalog()
                    .initramfs(&installed.kernel, agent)
                    .map_err(catalog_failed)?,
                vcpu_count: shape.vcpu_count,
                mem_mib: shape.mem_mib,
                disk: disk::chain(installed, None, [disk::own_layer(folder)]),
                template: None,
            },
            prepare: Some(Prepare {
                warm_up: WARM_UP
                    .iter()
                    .map(|line| GuestCommand::Shell(line.as_bytes().to_vec().into()))
                    .collect(),
            }),
            folder: folder.join(GUEST),
            boot_deadline_ms: self.config().boot_deadline_ms,
        };
        let built = self.run_builder(folder, &spec).await?;
        let _ = std::fs::remove_file(folder.join(SPEC));
        let facts = Facts {
            accelerator: built.accelerator,
            accelerator_reason: built.accelerator_reason,
        };
        shelf
            .publish(&partial, identity.clone(), facts)
            .map_err(failed)?;
        drop(lock);
        let used = self.used_cache_paths()?;
        shelf.shrink(self.config().template_limit_bytes, &key, |folder| {
            used.iter().any(|path| path.starts_with(folder))
        });
        shelf.find(&key).ok_or_else(|| {
            Error::new(ErrorCode::Internal, what).because("it is not there although it was built")
        })
    }

    async fn run_builder(
        &self,
        folder: &std::path::Path,
        spec: &TemplateSpec,
    ) -> Result<TemplateBuilt, Error> {
        let what = "A template could not be built";
        let path = folder.join(SPEC);
        launch::write_private(&path, spec).map_err(|error| host_io(what, &error))?;
        // The builder ends when its standard input does, which is when this process does.
        let child = Command::new(self.config().pyro()?)
            .args(["shim", "--template"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| host_io(what, &error))?;
        let patience = Duration::from_millis(spec.boot_deadline_ms.saturating_mul(2)) + SLACK;
        let output = timeout(patience, launch::output_with_owner(child))
            .await
            .map_err(|_| {
                Error::new(ErrorCode::BootTimeout, what)
                    .because(format!("it took more than {} s", patience.as_secs()))
            })?
            .map_err(|error| host_io(what, &error))?;
        if let Ok(built) = serde_json::from_slice::<TemplateBuilt>(&output.stdout) {
            return Ok(built);
        }
        let error = Error::new(ErrorCode::BootFailed, what);
        Err(match serde_json::from_slice::<Fault>(&output.stdout) {
            Ok(fault) => error.because(fault.message),
            Err(_) => error.because(String::from_utf8_lossy(&output.stderr).trim()),
        })
    }
}
