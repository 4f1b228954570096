//! What this host can do, as far as the choice of isolation goes. Tried once, and remembered until the
//! host is booted again, since it is on the way of each run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_catalog::{EnvironmentSpec, Installed, Runsc};
use pyro_namespace::IdMap;
use serde::{Deserialize, Serialize};

use crate::config::{QEMU, on_path};
use crate::engine::Engine;
use crate::error::{cancelled, catalog_failed};
use crate::private_file;
use crate::random::random_hex;
use crate::stamp;

const KVM: &str = "/dev/kvm";

/// What a host can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Abilities {
    /// KVM runs guests here.
    pub(crate) kvm: bool,
    /// gVisor runs sandboxes here.
    pub(crate) gvisor: bool,
}

/// What was found out, and about what.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    about: About,
    abilities: Abilities,
}

/// All that the answer hangs on. Another of any is another question.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    pyro: String,
    /// The host's start.
    boot_id: String,
    user: u32,
    files: Vec<Option<String>>,
}

impl Engine {
    /// What this host can do, found out if it is not known. That may take the pull of an environment,
    /// without which there is no guest to try KVM with; and it never fetches `runsc`, so a host without
    /// a registry loses no time. A `runsc` that somebody chose and that cannot be used is an error, unless
    /// KVM makes it needless.
    pub(crate) async fn abilities(
        &self,
        spec: &'static EnvironmentSpec,
        caller: &Caller,
    ) -> Result<Abilities, Error> {
        let runsc = self.installed_runsc();
        let refuses_runsc = self.config().runsc.is_some() && runsc.is_err();
        let about = self.about(runsc.as_ref().ok().and_then(Option::as_ref));
        if let Some(known) = self.remembered(&about)
            && (known.kvm || !refuses_runsc)
        {
            return Ok(known);
        }
        let kvm = self.kvm_works(spec, caller).await?;
        let gvisor = match runsc {
            _ if kvm => false,
            Ok(Some(runsc)) => self.gvisor_works(&runsc).await,
            Err(error) if refuses_runsc => return Err(catalog_failed(error)),
            Ok(None) | Err(_) => false,
        };
        let abilities = Abilities { kvm, gvisor };
        // An answer that cannot be kept is found out anew.
        let _ = self.remember(&Remembered { about, abilities });
        Ok(abilities)
    }

    /// The same where it was found out before.
    pub(crate) fn known_abilities(&self) -> Option<Abilities> {
        self.remembered(&self.about_now())
    }

    /// Has what sandboxes need, where `auto` is going to make some: so that the first of them waits for
    /// nothing, and so that runs need no registry. Without it they are VMs, which is told.
    pub(crate) async fn prepare_sandboxes(
        &self,
        installed: &Installed,
        caller: &Caller,
    ) -> Result<(), Error> {
        if !self.asks_host(caller) || self.kvm_works(installed.spec, caller).await? {
            return Ok(());
        }
        // Nothing that has to be fetched for hosts where it is of no use.
        let prepared = match IdMap::of_caller() {
            Ok(_) => self.gvisor_base(installed, caller).await.map(drop),
            Err(_) => return Ok(()),
        };
        let Err(error) = prepared else { return Ok(()) };
        let is_refused = self.config().runsc.is_some() && error.code == ErrorCode::ToolMissing;
        if is_refused || error.code == ErrorCode::Cancelled {
            return Err(error);
        }
        let why = error.causes.first().cloned().unwrap_or(error.error);
        let note = format!("runs here will be in emulated VMs, as gVisor cannot be had: {why}");
        caller.emit(Event::Note(note)).map_err(|_| cancelled())
    }

    /// What was found out turned out to be wrong, or may.
    pub(crate) fn forget_abilities(&self) {
        let _ = fs::remove_file(self.abilities_file());
    }

    async fn kvm_works(
        &self,
        spec: &'static EnvironmentSpec,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let usable = nix::unistd::access(KVM, AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
        if !usable || on_path(QEMU).is_none() {
            return Ok(false);
        }
        let installed = self.ensure(spec, caller).await?;
        let probe = self.probe(&installed).await;
        Ok(probe.is_ok_and(|probe| probe.kvm.runs_guests == Some(true)))
    }

    async fn gvisor_works(&self, runsc: &Runsc) -> bool {
        IdMap::of_caller().is_ok()
            && self
                .probe_sandbox(&runsc.path)
                .await
                .is_ok_and(|probe| probe.runs)
    }

    fn about_now(&self) -> About {
        let runsc = self.installed_runsc().ok().flatten();
        self.about(runsc.as_ref())
    }

    fn about(&self, runsc: Option<&Runsc>) -> About {
        let files = [
            on_path(QEMU),
            runsc.map(|runsc| runsc.path.clone()),
            self.config().agent().ok().map(Path::to_owned),
            Some(KVM.into()),
            Some("/etc/subuid".into()),
        ];
        About {
            pyro: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: stamp::host_boot(),
            user: nix::unistd::geteuid().as_raw(),
            files: files
                .into_iter()
                .map(|path| Some(stamp::of_file(&path?)))
                .collect(),
        }
    }

    fn remembered(&self, about: &About) -> Option<Abilities> {
        let text = fs::read(self.abilities_file()).ok()?;
        let known: Remembered = serde_json::from_slice(&text).ok()?;
        (known.about == *about).then_some(known.abilities)
    }

    fn remember(&self, known: &Remembered) -> io::Result<()> {
        let path = self.abilities_file();
        fs::create_dir_all(&self.config().cache_dir)?;
        let whole = path.with_extension(random_hex(6)?);
        let written = private_file::create(&whole)
            .and_then(|file| Ok(serde_json::to_writer(file, known)?))
            .and_then(|()| fs::rename(&whole, &path));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&whole);
        })
    }

    fn abilities_file(&self) -> PathBuf {
        self.config().cache_dir.join("isolation.json")
    }
}

#[cfg(test)]
mod tests {
    use pyro_catalog::Kernel;
    use pyro_wire::launch::AcceleratorChoice;

    use super::*;
    use crate::Config;

    #[test]
    fn no_kernel_is_unpacked_where_kvm_is_known_to_work() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::from_environment().unwrap();
        config.cache_dir = folder.path().to_owned();
        let engine = Engine::new(config);
        let kernel = Kernel {
            image: folder.path().join("vmlinuz"),
            modules_dir: folder.path().join("modules"),
            release: String::new(),
            digest: String::new(),
        };
        let refused = |choice| engine.vmlinux(&kernel, choice).unwrap_err();
        let remember = |kvm| {
            let (about, gvisor) = (engine.about_now(), false);
            let abilities = Abilities { kvm, gvisor };
            engine.remember(&Remembered { about, abilities }).unwrap();
        };
        let missing = refused(AcceleratorChoice::Tcg);
        assert_eq!(refused(AcceleratorChoice::Auto), missing);
        remember(false);
        assert_eq!(refused(AcceleratorChoice::Auto), missing);
        remember(true);
        assert_eq!(refused(AcceleratorChoice::Auto), "KVM works here");
        assert_eq!(refused(AcceleratorChoice::Tcg), missing);
        assert_eq!(refused(AcceleratorChoice::Kvm), "KVM was requested");
    }
}
