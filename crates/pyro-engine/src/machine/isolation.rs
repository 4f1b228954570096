//! What keeps a VM's commands apart from this host. Decided here and once, when it is made: a VM keeps
//! its kind for life.

use nix::unistd::AccessFlags;
use pyro_api::values::{ExecutionMode, Isolation};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::EnvironmentSpec;
use pyro_namespace::overlay;
use pyro_wire::launch::AcceleratorChoice;

use super::abilities::Abilities;
use super::facts::{ISOLATION, ISOLATION_REASON};
use crate::config::{Backend, QEMU, on_path};
use crate::engine::Engine;
use crate::error::{INSTALL_MISSING_QEMU, qemu_missing};

/// What a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmKind {
    /// A virtual machine of QEMU's.
    Vm,
    /// A sandbox of gVisor's.
    Gvisor,
    /// Processes of this host, without isolation.
    HostProcess,
}

impl VmKind {
    /// How a record names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Gvisor => "gvisor",
            Self::HostProcess => "none",
        }
    }

    /// Where commands run, once it is started.
    pub(crate) fn execution_mode(self) -> ExecutionMode {
        match self {
            Self::Vm => ExecutionMode::GuestVsock,
            Self::Gvisor => ExecutionMode::Gvisor,
            Self::HostProcess => ExecutionMode::HostCompat,
        }
    }
}

/// A kind, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) kind: VmKind,
    /// One sentence, for records.
    pub(crate) reason: String,
}

impl Chosen {
    fn new(kind: VmKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// What a record says of it.
    pub(crate) fn facts(&self) -> [(String, String); 2] {
        [
            (ISOLATION.to_owned(), self.kind.name().to_owned()),
            (ISOLATION_REASON.to_owned(), self.reason.clone()),
        ]
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// In the call itself.
    pub(crate) isolation: Option<Isolation>,
    pub(crate) allow_host_compat: bool,
    pub(crate) network: bool,
    /// What it changes lies in the state folder.
    pub(crate) keeps_files: bool,
}

/// What the choice depends on beside what was asked for.
#[derive(Clone, Copy, Debug)]
struct Circumstances {
    backend: Backend,
    /// What is meant where a call does not say.
    default: Isolation,
    has_qemu: bool,
    /// A person chose how VMs run, and so VMs.
    has_accelerator: bool,
    /// This user may make network interfaces for sandboxes.
    has_tun: bool,
    /// What the state folder is on, if that cannot hold what a sandbox changes.
    unsuitable_disk: Option<&'static str>,
    /// A model's word is enough only where a person has chosen host processes.
    is_model: bool,
    /// What `auto` goes by. Without it, it is a VM.
    abilities: Option<Abilities>,
}

impl Engine {
    /// What a new VM is to be here, of an environment.
    pub(crate) async fn choose(
        &self,
        asked: Asked,
        spec: &'static EnvironmentSpec,
        caller: &Caller,
    ) -> Result<Chosen, Error> {
        let mut circumstances = self.circumstances(caller);
        if circumstances.asks_host(asked) {
            if matches!(self.catalog().installed(spec), Ok(None)) {
                // Whoever waits for the one waits for the other, and the registry is there.
                let installed = self.ensure(spec, caller).await?;
                self.prepare_sandboxes(&installed, caller).await?;
            }
            circumstances.abilities = Some(self.abilities(spec, caller).await?);
        }
        circumstances.choose(asked)
    }

    /// Whether what the host can do decides where nothing is asked for.
    pub(crate) fn asks_host(&self, caller: &Caller) -> bool {
        self.circumstances(caller).asks_host(Asked {
            isolation: None,
            allow_host_compat: false,
            network: false,
            keeps_files: false,
        })
    }

    fn circumstances(&self, caller: &Caller) -> Circumstances {
        Circumstances {
            backend: self.config().backend,
            default: self.config().isolation,
            has_qemu: on_path(QEMU).is_some(),
            has_accelerator: self.config().accelerator != AcceleratorChoice::Auto,
            has_tun: nix::unistd::access(TUN, AccessFlags::R_OK | AccessFlags::W_OK).is_ok(),
            unsuitable_disk: overlay::unsuitable(&self.config().state_dir),
            is_model: caller.is_model(),
            abilities: None,
        }
    }
}

impl Circumstances {
    /// Whether the choice depends on what the host can do.
    fn asks_host(self, asked: Asked) -> bool {
        asked.isolation.unwrap_or(self.default) == Isolation::Auto
            && self.backend == Backend::Auto
            && !self.has_accelerator
    }

    fn choose(self, asked: Asked) -> Result<Chosen, Error> {
        let (isolation, source) = match asked.isolation {
            Some(isolation) => (isolation, Source::Call),
            None => (self.default, Source::Setting),
        };
        match isolation {
            Isolation::Gvisor => self.choose_gvisor(source),
            Isolation::Vm => self.choose_vm(asked.allow_host_compat, &source.words(isolation)),
            Isolation::Auto => self.choose_by_host(asked),
        }
    }

    fn choose_by_host(self, asked: Asked) -> Result<Chosen, Error> {
        let vm = |why: &str| self.choose_vm(asked.allow_host_compat, why);
        let Some((kind, why)) = self.abilities.map(best) else {
            return vm(AUTO_IS_VM);
        };
        if kind != VmKind::Gvisor {
            return vm(why);
        }
        if asked.network && !self.has_tun {
            return vm(NO_TUN);
        }
        match self.unsuitable_disk.filter(|_| asked.keeps_files) {
            Some(file_system) => vm(&no_room_for_changes(file_system)),
            None => Ok(Chosen::new(kind, why)),
        }
    }

    fn choose_gvisor(self, source: Source) -> Result<Chosen, Error> {
        let why = source.words(Isolation::Gvisor);
        if self.backend == Backend::Process {
            return Err(
                Error::new(ErrorCode::VmUnavailable, "gVisor cannot be used here")
                    .because(format!("PYRO_BACKEND is set to host processes, and {why}"))
                    .hint("Unset PYRO_BACKEND, or leave out the isolation"),
            );
        }
        Ok(Chosen::new(VmKind::Gvisor, why))
    }

    /// A VM, or what the caller allows in place of one.
    fn choose_vm(self, allow_host_compat: bool, why: &str) -> Result<Chosen, Error> {
        let on_host = |why: &str| Ok(Chosen::new(VmKind::HostProcess, why));
        const SET: &str = "PYRO_BACKEND is set to host processes";
        match self.backend {
            Backend::Qemu => Ok(Chosen::new(VmKind::Vm, why)),
            Backend::Process if allow_host_compat => on_host(SET),
            Backend::Process => Err(host_compat_not_allowed(SET)),
            Backend::Auto if self.has_qemu => Ok(Chosen::new(VmKind::Vm, why)),
            Backend::Auto if self.is_model => Err(qemu_missing()),
            Backend::Auto if allow_host_compat => {
                on_host("QEMU is missing, and the call allowed it")
            }
            Backend::Auto => Err(qemu_missing().hint(format!(
                "{INSTALL_MISSING_QEMU}. To run the command on this host instead, without \
                 isolation, pass `--allow-host-compat` (`allow_host_compat=True`)"
            ))),
        }
    }
}

/// What the network of a sandbox is made with.
const TUN: &str = "/dev/net/tun";

const NO_TUN: &str = "a sandbox with a network needs /dev/net/tun, which this user may not open";

pub(crate) fn no_room_for_changes(file_system: &str) -> String {
    format!("the state folder is on {file_system}, which cannot hold what a sandbox changes")
}

/// Where the host is not asked.
const AUTO_IS_VM: &str = "`auto` is a VM where the backend or the accelerator is set";

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Call,
    Setting,
}

impl Source {
    fn words(self, isolation: Isolation) -> String {
        match self {
            Self::Call => format!("the call asked for `{isolation}`"),
            Self::Setting => format!("PYRO_ISOLATION is set to `{isolation}`"),
        }
    }
}

pub(crate) const KVM_WORKS: &str = "KVM works here";

/// What suits a host best, and why: a VM where KVM runs guests, else gVisor where it runs, which is
/// faster than emulation and, unlike that, made to be a wall; else a VM under emulation.
pub(crate) fn best(host: Abilities) -> (VmKind, &'static str) {
    match host {
        Abilities { kvm: true, .. } => (VmKind::Vm, KVM_WORKS),
        Abilities { gvisor: true, .. } => (
            VmKind::Gvisor,
            "KVM does not work here, and gVisor does, which is faster than emulation",
        ),
        Abilities { .. } => (VmKind::Vm, "neither KVM nor gVisor works here"),
    }
}

fn host_compat_not_allowed(cause: &str) -> Error {
    Error::new(
        ErrorCode::VmUnavailable,
        "Running commands on this host, without isolation, is not allowed",
    )
    .because(cause)
    .hint("Pass `--allow-host-compat` (`allow_host_compat=True`) if that is what you want")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Circumstances = Circumstances {
        backend: Backend::Auto,
        default: Isolation::Auto,
        has_qemu: true,
        has_accelerator: false,
        has_tun: true,
        unsuitable_disk: None,
        is_model: false,
        abilities: None,
    };

    fn asked(isolation: Option<Isolation>, allow_host_compat: bool) -> Asked {
        Asked {
            isolation,
            allow_host_compat,
            network: false,
            keeps_files: false,
        }
    }

    fn kind(here: Circumstances, asked: Asked) -> VmKind {
        here.choose(asked).unwrap().kind
    }

    #[test]
    fn a_call_says_more_than_a_setting_and_a_setting_more_than_nothing() {
        let gvisor = Circumstances {
            default: Isolation::Gvisor,
            ..HERE
        };
        for (here, isolation, wanted, why) in [
            (HERE, None, VmKind::Vm, AUTO_IS_VM),
            (
                HERE,
                Some(Isolation::Gvisor),
                VmKind::Gvisor,
                "the call asked for `gvisor`",
            ),
            (
                gvisor,
                None,
                VmKind::Gvisor,
                "PYRO_ISOLATION is set to `gvisor`",
            ),
            (
                gvisor,
                Some(Isolation::Vm),
                VmKind::Vm,
                "the call asked for `vm`",
            ),
            (gvisor, Some(Isolation::Auto), VmKind::Vm, AUTO_IS_VM),
        ] {
            let chosen = here.choose(asked(isolation, false)).unwrap();
            assert_eq!((chosen.kind, chosen.reason.as_str()), (wanted, why));
        }
    }

    #[test]
    fn gvisor_needs_no_qemu_and_is_never_replaced_by_the_host() {
        let wanted = asked(Some(Isolation::Gvisor), true);
        let without = Circumstances {
            has_qemu: false,
            ..HERE
        };
        assert_eq!(kind(without, wanted), VmKind::Gvisor);
        for backend in [Backend::Auto, Backend::Qemu] {
            assert_eq!(
                kind(Circumstances { backend, ..HERE }, wanted),
                VmKind::Gvisor
            );
        }
        let backend = Backend::Process;
        let error = Circumstances { backend, ..HERE }
            .choose(wanted)
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::VmUnavailable);
        assert!(error.causes[0].contains("PYRO_BACKEND"), "{error:?}");
    }

    #[test]
    fn the_host_is_used_only_where_a_person_allowed_it() {
        let without = Circumstances {
            has_qemu: false,
            ..HERE
        };
        let of_model = Circumstances {
            is_model: true,
            ..without
        };
        for isolation in [None, Some(Isolation::Auto), Some(Isolation::Vm)] {
            assert_eq!(kind(without, asked(isolation, true)), VmKind::HostProcess);
            assert!(without.choose(asked(isolation, false)).is_err());
            assert!(of_model.choose(asked(isolation, true)).is_err());
        }
    }

    #[test]
    fn auto_with_a_network_is_no_sandbox_where_that_can_have_none() {
        let abilities = Some(Abilities {
            kvm: false,
            gvisor: true,
        });
        let with_network = |isolation| Asked {
            network: true,
            ..asked(isolation, false)
        };
        for (has_tun, isolation, wanted) in [
            (true, None, VmKind::Gvisor),
            (false, None, VmKind::Vm),
            // Whoever insists hears why it cannot be.
            (false, Some(Isolation::Gvisor), VmKind::Gvisor),
        ] {
            let here = Circumstances {
                has_tun,
                abilities,
                ..HERE
            };
            assert_eq!(kind(here, with_network(isolation)), wanted);
            assert_eq!(kind(here, asked(None, false)), VmKind::Gvisor);
        }
    }

    #[test]
    fn auto_is_no_sandbox_where_what_it_changes_cannot_lie() {
        let here = Circumstances {
            unsuitable_disk: Some("NFS"),
            abilities: Some(Abilities {
                kvm: false,
                gvisor: true,
            }),
            ..HERE
        };
        let keeping = |isolation| Asked {
            keeps_files: true,
            ..asked(isolation, false)
        };
        let chosen = here.choose(keeping(None)).unwrap();
        assert_eq!(chosen.kind, VmKind::Vm);
        assert!(chosen.reason.contains("on NFS"), "{}", chosen.reason);
        // Nothing of a single command lies there, and whoever insists hears why it cannot be.
        assert_eq!(kind(here, asked(None, false)), VmKind::Gvisor);
        assert_eq!(kind(here, keeping(Some(Isolation::Gvisor))), VmKind::Gvisor);
    }

    #[test]
    fn auto_is_a_vm_with_kvm_and_gvisor_before_emulation() {
        for (kvm, gvisor, wanted) in [
            (true, true, VmKind::Vm),
            (true, false, VmKind::Vm),
            (false, true, VmKind::Gvisor),
            (false, false, VmKind::Vm),
        ] {
            let abilities = Some(Abilities { kvm, gvisor });
            let here = Circumstances { abilities, ..HERE };
            for isolation in [None, Some(Isolation::Auto)] {
                assert_eq!(kind(here, asked(isolation, false)), wanted);
            }
            assert_eq!(kind(here, asked(Some(Isolation::Vm), false)), VmKind::Vm);
        }
        // As long as nobody looks what the host can do.
        assert_eq!(kind(HERE, asked(None, false)), VmKind::Vm);
    }
}
