use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use nix::unistd::AccessFlags;
use pyro_api::operations::doctor::{
    Capabilities, Check, Diagnosis, Doctor, Gvisor, Kvm, Networking, Outcome, Runtime,
};
use pyro_api::{Caller, Error, Handle};
use pyro_catalog::Installed;
use pyro_namespace::overlay;
use pyro_wire::jail::{JailChoice, Walls};

use crate::Engine;
use crate::config::{QEMU, Templates, on_path};
use crate::machine::abilities::Abilities;
use crate::machine::isolation::{VmKind, best, no_room_for_changes};

/// Below this much free space on the disk of cache or state, VMs soon fail.
const LITTLE_SPACE: u64 = 2 << 30;

#[async_trait]
impl Handle<Doctor> for Engine {
    async fn handle(&self, doctor: Doctor, _caller: &Caller) -> Result<Diagnosis, Error> {
        let installed = pyro_catalog::environments()
            .iter()
            .find_map(|spec| self.catalog().installed(spec).ok()?);
        let mut checks = Vec::new();
        let (kvm, qemu_version) = self
            .check_accelerator(installed.as_ref(), &mut checks)
            .await;
        let gvisor = self.check_gvisor(&mut checks).await;
        let refuses_runsc = self.config().runsc.is_some() && self.installed_runsc().is_err();
        checks.push(isolation_check(
            &kvm,
            &gvisor,
            refuses_runsc,
            &self.config().state_dir,
        ));
        self.check_programs(&mut checks);
        check_image_tools(installed.is_some(), &mut checks);
        self.check_cache(installed.is_some(), &mut checks);
        self.check_state(&mut checks);

        let issues: Vec<String> = checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .map(|check| match &check.fix {
                Some(fix) => format!("{}: {} ({fix})", check.name, check.detail),
                None => format!("{}: {}", check.name, check.detail),
            })
            .collect();
        let runtime_ok = issues.is_empty();
        Ok(Diagnosis {
            platform: doctor.platform.to_string(),
            runtime_ok,
            runtime: on_path(QEMU).map(|qemu| self.runtime(&qemu, qemu_version, &issues)),
            issues,
            kvm,
            gvisor,
            networking: networking(),
            checks,
        })
    }
}

impl Engine {
    async fn check_accelerator(
        &self,
        installed: Option<&Installed>,
        checks: &mut Vec<Check>,
    ) -> (Kvm, Option<String>) {
        let device = Path::new("/dev/kvm");
        let mut kvm = Kvm {
            exists: device.exists(),
            readable: nix::unistd::access(device, AccessFlags::R_OK).is_ok(),
            writable: nix::unistd::access(device, AccessFlags::W_OK).is_ok(),
            runs_guests: None,
            accelerator: None,
            reason: String::new(),
        };
        let Some(qemu) = on_path(QEMU) else {
            kvm.reason = format!("`{QEMU}` was not found on PATH");
            checks.push(failed(
                "qemu",
                kvm.reason.clone(),
                "sudo apt-get install qemu-system-x86",
            ));
            return (kvm, None);
        };
        let (probe, fix) = match installed {
            Some(installed) => (self.probe(installed).await, ""),
            None => (
                Err(
                    "no environment is installed yet, so no guest could be started to find out"
                        .to_owned(),
                ),
                "pyro env pull debian:12",
            ),
        };
        match probe {
            Ok(probe) => {
                let version = probe.vmm_version.clone();
                kvm.runs_guests = probe.kvm.runs_guests;
                kvm.reason = probe.reason.clone();
                match probe.fault {
                    Some(fault) => checks.push(failed(
                        "qemu",
                        format!("{}: {fault}", qemu.display()),
                        "sudo apt-get install --reinstall qemu-system-x86",
                    )),
                    None => {
                        checks.push(ok(
                            "qemu",
                            format!(
                                "{} {}",
                                qemu.display(),
                                version.as_deref().unwrap_or_default()
                            ),
                        ));
                        kvm.accelerator = Some(probe.accelerator.clone());
                        checks.push(accelerator_check(&probe.accelerator, probe.reason));
                        checks.extend(probe.jail.map(|jail| self.jail_check(jail)));
                    }
                }
                (kvm, version)
            }
            Err(reason) => {
                checks.push(ok("qemu", qemu.display().to_string()));
                checks.push(warning("accelerator", format!("unknown: {reason}"), fix));
                kvm.reason = reason;
                (kvm, None)
            }
        }
    }

    fn jail_check(&self, jail: Result<Walls, String>) -> Check {
        const FIX: &str = "see docs/design/jail.md";
        let walls = match jail {
            Ok(walls) => walls,
            Err(reason) => return failed("jail", reason, FIX),
        };
        let demanded = walls
            .missing
            .iter()
            .find(|missing| missing.wall.is_demanded());
        let Some(first) = demanded else {
            let mut words = walls.names();
            if !walls.missing.is_empty() {
                words.push_str(&format!("; not here: {}", walls.gaps()));
            }
            return ok("jail", words);
        };
        let mut words = format!("missing: {}", walls.gaps());
        if !walls.keep_files() {
            words.push_str("; a VMM that was taken over can read your files");
        }
        let fix = first.fix.as_deref().unwrap_or(FIX);
        match self.config().jail {
            JailChoice::Auto => warning("jail", words, fix),
            JailChoice::Strict => failed(
                "jail",
                format!("{words}; no VM starts, because PYRO_JAIL is strict"),
                fix,
            ),
        }
    }

    fn check_programs(&self, checks: &mut Vec<Check>) {
        let programs = [
            ("pyro binary", self.config().pyro()),
            ("guest agent", self.config().agent()),
        ];
        for (name, found) in programs {
            checks.push(match found {
                Ok(path) => ok(name, path.display().to_string()),
                Err(error) => failed(
                    name,
                    error.causes.join(", "),
                    &error.hint.unwrap_or_default(),
                ),
            });
        }
    }

    fn check_cache(&self, has_image: bool, checks: &mut Vec<Check>) {
        let catalog = self.catalog();
        let mut cache = writable(
            "environment cache",
            catalog.cache_dir(),
            "PYRO_ENVIRONMENT_CACHE_DIR",
        );
        // As where several people share what one of them installed.
        if has_image && cache.outcome == Outcome::Failed {
            cache.outcome = Outcome::Warning;
            cache
                .detail
                .push_str("; VMs run, but each one boots, because templates cannot be saved");
        }
        checks.push(cache);
        checks.push(match catalog.space() {
            Ok(space) if space.free_bytes < LITTLE_SPACE => warning(
                "disk space",
                format!(
                    "{} MiB free for the cache, which holds {} MiB",
                    space.free_bytes >> 20,
                    space.used_bytes >> 20
                ),
                "pyro env prune",
            ),
            Ok(space) => ok(
                "disk space",
                format!(
                    "{} MiB free for the cache, which holds {} MiB",
                    space.free_bytes >> 20,
                    space.used_bytes >> 20
                ),
            ),
            Err(error) => warning("disk space", error.to_string(), "df -h"),
        });
        checks.push(ok("templates", self.templates_in_words()));
        for environment in self.environments() {
            if let Some(problem) = environment.problem {
                checks.push(warning(
                    "environment",
                    problem,
                    &format!("pyro env pull {}", environment.name),
                ));
            }
        }
    }

    fn templates_in_words(&self) -> String {
        let stats = self.template_cache().stats();
        let limit = self.config().template_limit_bytes >> 20;
        let mut words = format!("{} mounted, {} bare", stats.mounted, stats.bare);
        if stats.unusable > 0 {
            words.push_str(&format!(", {} that cannot be resumed", stats.unusable));
        }
        words.push_str(&format!(
            ": {} MiB of at most {limit} MiB (PYRO_TEMPLATE_LIMIT_MIB)",
            stats.bytes >> 20
        ));
        if self.config().templates == Templates::Off {
            words.push_str("; not used, because PYRO_TEMPLATES is off");
        }
        words
    }

    fn check_state(&self, checks: &mut Vec<Check>) {
        checks.push(match self.store() {
            Ok(store) => ok("state database", store.path().display().to_string()),
            Err(error) => failed(
                "state database",
                std::iter::once(error.error)
                    .chain(error.causes)
                    .collect::<Vec<_>>()
                    .join(": "),
                &error.hint.unwrap_or_default(),
            ),
        });
    }

    fn runtime(&self, qemu: &Path, qemu_version: Option<String>, issues: &[String]) -> Runtime {
        let agent = self.config().agent().ok();
        let works = issues.is_empty();
        Runtime {
            bundle_version: None,
            component_versions: BTreeMap::from_iter(
                [
                    Some(("pyro".to_owned(), env!("CARGO_PKG_VERSION").to_owned())),
                    qemu_version.map(|version| ("qemu".to_owned(), version)),
                ]
                .into_iter()
                .flatten(),
            ),
            qemu_bin: qemu.display().to_string(),
            guest_agent_path: agent.map(|path| path.display().to_string()),
            capabilities: Capabilities {
                supports_vm_boot: works,
                supports_guest_exec: works,
                supports_guest_network: works,
                reason: issues.first().cloned(),
            },
            catalog_version: pyro_catalog::CATALOG_VERSION.to_owned(),
            cache_dir: self.catalog().cache_dir().display().to_string(),
            state_dir: self.config().state_dir.display().to_string(),
            environments: self.environments(),
        }
    }
}

fn accelerator_check(accelerator: &str, reason: String) -> Check {
    if accelerator == "kvm" {
        return ok("accelerator", format!("kvm: {reason}"));
    }
    Check {
        name: "accelerator".to_owned(),
        outcome: Outcome::Warning,
        detail: format!("{accelerator} (emulation, which works but is slower): {reason}"),
        fix: None,
    }
}

/// Which kind of VM suits this host, and which one it gets unasked.
fn isolation_check(kvm: &Kvm, gvisor: &Gvisor, refuses_runsc: bool, state_dir: &Path) -> Check {
    let has_kvm = kvm.accelerator.as_deref() == Some("kvm");
    if refuses_runsc && !has_kvm {
        return warning(
            "isolation",
            "only what asks for a VM (`--isolation vm`) runs: PYRO_RUNSC names what cannot be used"
                .to_owned(),
            "unset PYRO_RUNSC",
        );
    }
    let (kind, why) = best(Abilities {
        kvm: has_kvm,
        gvisor: gvisor.runs_sandboxes == Some(true),
    });
    if kind != VmKind::Gvisor {
        let detail = format!("everything is in VMs unless it asks for gVisor: {why}");
        return ok("isolation", detail);
    }
    match overlay::unsuitable(state_dir) {
        Some(file_system) => warning(
            "isolation",
            format!(
                "runs are in gVisor unless they ask for a VM, but new workspaces are in emulated VMs: {}",
                no_room_for_changes(file_system)
            ),
            overlay::SUITABLE,
        ),
        None => ok(
            "isolation",
            format!("runs and new workspaces are in gVisor unless they ask for a VM: {why}"),
        ),
    }
}

/// What builds images; needed only until one is installed.
fn check_image_tools(has_image: bool, checks: &mut Vec<Check>) {
    let missing = if has_image { warning } else { failed };
    for tool in pyro_catalog::tools() {
        checks.push(match tool.path {
            Some(path) => ok(tool.name, path.display().to_string()),
            None => missing(
                tool.name,
                format!("not found; {}", tool.why),
                &format!("sudo apt-get install {}", tool.package),
            ),
        });
    }
    checks.push(match pyro_catalog::user_namespaces() {
        Ok(()) => ok(
            "user namespaces",
            "environments can be built as this user".to_owned(),
        ),
        Err(error) => {
            let error = crate::error::catalog_failed(error);
            missing(
                "user namespaces",
                error.causes.join(", "),
                &error.hint.unwrap_or_default(),
            )
        }
    });
}

/// Looks at a folder that may not exist yet: then at the nearest one above that does.
fn writable(name: &str, folder: &Path, variable: &str) -> Check {
    let existing = folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    match nix::unistd::access(existing, AccessFlags::W_OK) {
        Ok(()) => ok(name, folder.display().to_string()),
        Err(errno) => failed(
            name,
            format!("{} cannot be written: {}", existing.display(), errno.desc()),
            &format!("Make it writable, or set {variable} to another folder"),
        ),
    }
}

fn networking() -> Networking {
    let path = |name| on_path(name).map(|path| path.display().to_string());
    let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    Networking {
        enabled_by_default: false,
        tun_available: Path::new("/dev/net/tun").exists(),
        ip_binary: path("ip"),
        nft_binary: path("nft"),
        iptables_binary: path("iptables"),
        ip_forward_enabled: forwards.is_ok_and(|text| text.trim() == "1"),
    }
}

fn ok(name: &str, detail: String) -> Check {
    check(name, Outcome::Ok, detail, None)
}

fn warning(name: &str, detail: String, fix: &str) -> Check {
    check(name, Outcome::Warning, detail, Some(fix))
}

fn failed(name: &str, detail: String, fix: &str) -> Check {
    check(name, Outcome::Failed, detail, Some(fix))
}

fn check(name: &str, outcome: Outcome, detail: String, fix: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        outcome,
        detail,
        fix: fix.filter(|fix| !fix.is_empty()).map(str::to_owned),
    }
}
