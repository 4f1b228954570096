//! Builds one template: a shim boots a guest, prepares it when it is to be a mounted one, and
//! freezes it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pyro_api::{Error, ErrorCode};
use pyro_catalog::Installed;
use pyro_wire::PROTOCOL;
use pyro_wire::agent::Prepare;
use pyro_wire::exec::Command as GuestCommand;
use pyro_wire::fault::Fault;
use pyro_wire::launch::Qemu;
use pyro_wire::network::Network;
use pyro_wire::template::{TemplateBuilt, TemplateSpec};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::cache::{BuildLock, Facts, GUEST};
use super::identity::Identity;
use super::{Kind, Template, TemplateCache};
use crate::config::{QEMU, on_path};
use crate::engine::Engine;
use crate::error::{catalog_failed, host_io};
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

/// How often to look whether another process has finished the same template.
const TURN: Duration = Duration::from_millis(20);

const WHAT: &str = "A template could not be built";

impl Engine {
    pub(super) async fn build_template(
        &self,
        installed: &Installed,
        identity: &Identity,
    ) -> Result<Template, Error> {
        let failed = |error: std::io::Error| host_io(WHAT, &error);
        let key = identity.key();
        let cache = self.template_cache();
        let lock = self.await_turn(&cache, &key).await?;
        if let Some(template) = cache.find(&key) {
            return Ok(template);
        }
        let partial = cache.partial().map_err(failed)?;
        let folder = partial.folder();
        disk::create_layer(&disk::own_layer(folder), installed).map_err(failed)?;
        std::fs::create_dir(folder.join(GUEST)).map_err(failed)?;
        let spec = self.template_spec(installed, identity, folder)?;
        let built = self.run_builder(folder, &spec).await?;
        let _ = std::fs::remove_file(folder.join(SPEC));
        if identity.kind() == Kind::Bare {
            // It only had to be there: the guest found a device of the right size.
            std::fs::remove_file(disk::own_layer(folder)).map_err(failed)?;
        }
        let facts = Facts {
            accelerator: built.accelerator,
            accelerator_reason: built.accelerator_reason,
        };
        let name = cache
            .publish(&partial, identity.clone(), facts)
            .map_err(failed)?;
        drop(lock);
        cache.evict(self.config().template_limit_bytes, &name, |folder| {
            self.is_in_use(folder)
        });
        cache.find(&key).ok_or_else(|| {
            Error::new(ErrorCode::Internal, WHAT).because("it is missing although it was built")
        })
    }

    /// Waits while another process builds the same template, but not for longer than one may take.
    async fn await_turn(&self, cache: &TemplateCache, key: &str) -> Result<BuildLock, Error> {
        let patience = self.build_patience();
        let until = Instant::now() + patience;
        loop {
            let lock = cache.try_lock(key).map_err(|error| host_io(WHAT, &error))?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if Instant::now() >= until {
                let seconds = patience.as_secs();
                return Err(Error::new(ErrorCode::BootTimeout, WHAT).because(format!(
                    "another pyro has been building it for more than {seconds} s"
                )));
            }
            sleep(TURN).await;
        }
    }

    fn template_spec(
        &self,
        installed: &Installed,
        identity: &Identity,
        folder: &Path,
    ) -> Result<TemplateSpec, Error> {
        let shape = identity.shape();
        let (disk, prepare) = match identity.kind() {
            Kind::Mounted => {
                let warm_up = WARM_UP.iter().map(|line| line.as_bytes().to_vec().into());
                let warm_up = warm_up.map(GuestCommand::Shell).collect();
                (
                    disk::chain(installed, None, [disk::own_layer(folder)]),
                    Some(Prepare { warm_up }),
                )
            }
            Kind::Bare => (disk::blank_chain(&disk::own_layer(folder)), None),
        };
        Ok(TemplateSpec {
            protocol: PROTOCOL,
            qemu: Qemu {
                binary: on_path(QEMU).unwrap_or_else(|| QEMU.into()),
                accelerator: self.config().accelerator,
                probe_cache: self.probe_cache(),
                kernel: installed.kernel.image.clone(),
                vmlinux: self.vmlinux(&installed.kernel, self.config().accelerator),
                initramfs: self
                    .catalog()
                    .initramfs(&installed.kernel, self.config().agent()?)
                    .map_err(catalog_failed)?,
                vcpu_count: shape.vcpu_count,
                mem_mib: shape.mem_mib,
                disk,
                template: None,
                network: shape.network.then(Network::default),
                jail: self.config().jail,
            },
            prepare,
            folder: folder.join(GUEST),
            boot_deadline_ms: self.config().boot_deadline_ms,
        })
    }

    /// How long one build may take.
    fn build_patience(&self) -> Duration {
        Duration::from_millis(self.config().boot_deadline_ms.saturating_mul(2)) + SLACK
    }

    async fn run_builder(
        &self,
        folder: &Path,
        spec: &TemplateSpec,
    ) -> Result<TemplateBuilt, Error> {
        let path = folder.join(SPEC);
        launch::write_private(&path, spec).map_err(|error| host_io(WHAT, &error))?;
        // The builder ends when its standard input does, which is when this process does.
        let child = Command::new(self.config().pyro()?)
            .args(["shim", "--template"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| host_io(WHAT, &error))?;
        let patience = self.build_patience();
        let output = timeout(patience, launch::output_with_owner(child))
            .await
            .map_err(|_| {
                Error::new(ErrorCode::BootTimeout, WHAT)
                    .because(format!("it took more than {} s", patience.as_secs()))
            })?
            .map_err(|error| host_io(WHAT, &error))?;
        if let Ok(built) = serde_json::from_slice::<TemplateBuilt>(&output.stdout) {
            return Ok(built);
        }
        let error = Error::new(ErrorCode::BootFailed, WHAT);
        Err(match serde_json::from_slice::<Fault>(&output.stdout) {
            Ok(fault) => error.because(fault.message),
            Err(_) => error.because(String::from_utf8_lossy(&output.stderr).trim()),
        })
    }
}
