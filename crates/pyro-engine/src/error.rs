//! From what went wrong inside to what a user reads: code, words and remedy are attached here.

use std::io;
use std::path::Path;

use pyro_api::values::VmRecord;
use pyro_api::{Error, ErrorCode};
use pyro_catalog::{CatalogError, RunscOrigin};
use pyro_namespace::NamespaceError;
use pyro_oci::registry::RegistryError;
use pyro_oci::{OciError, ReferenceError};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{EndReason, Ended};

use crate::config::QEMU;
use crate::machine::command::CommandError;
use crate::machine::launch::LaunchError;
use crate::machine::shim_client::ShimError;
use crate::store::StoreError;

const INSTALL_QEMU: &str =
    "Install QEMU with `sudo apt-get install qemu-system-x86`, and see `pyro doctor`";
/// The same after words that name it.
pub(crate) const INSTALL_MISSING_QEMU: &str =
    "Install it with `sudo apt-get install qemu-system-x86`";
const IN_A_VM: &str =
    "See `pyro doctor`; `--isolation vm` (`isolation`) runs the command in a VM instead";
const FREE_SPACE: &str = "Free some space, for instance with `pyro env prune`, or set PYRO_STATE_DIR and \
     PYRO_ENVIRONMENT_CACHE_DIR to folders on a larger disk";
const RUN_AGAIN: &str = "Run the command again in a new VM or sandbox";
const LESS_LOAD: &str = "Try again when the host is less busy, or allow more time with \
     PYRO_BOOT_TIMEOUT_SECONDS=120";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Newer { .. } => Self::new(
                ErrorCode::NewerState,
                "The state folder belongs to a newer pyro",
            )
            .because(&error)
            .hint("Update pyro, or set PYRO_STATE_DIR to another folder"),
            StoreError::Folder { path, source } => state_unusable(path, source),
            StoreError::DamagedWorkspace { id, .. } => Self::new(
                ErrorCode::Damaged,
                format!("Workspace `{id}` cannot be used"),
            )
            .caused_by(&error)
            .hint(
                "`pyro workspace delete` (`workspace_delete`) removes it; its disk layers are in its \
                 folder",
            ),
            StoreError::Database { path, source } => {
                let code = match source.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::DiskFull) => ErrorCode::NoSpace,
                    // SQLite says no more than this when a file beside the database has no room.
                    Some(
                        rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::SystemIoFailure,
                    ) if is_full(path) => ErrorCode::NoSpace,
                    _ => ErrorCode::HostIo,
                };
                let told = Self::new(code, "The state database cannot be used").caused_by(&error);
                match code {
                    ErrorCode::NoSpace => told.hint(FREE_SPACE),
                    _ => told.hint(
                        "Check that the folder is writable; if the database is damaged, move it \
                         away: it holds only the records of VMs",
                    ),
                }
            }
            StoreError::Record { vm_id, .. } => Self::new(
                ErrorCode::Internal,
                format!("The record of VM `{vm_id}` is damaged"),
            )
            .caused_by(&error)
            .hint("It is removed when the next VM is created"),
        }
    }
}

pub(crate) fn qemu_missing() -> Error {
    Error::new(ErrorCode::VmUnavailable, "This host cannot run VMs yet")
        .because(format!("`{QEMU}` was not found on PATH"))
        .hint(INSTALL_MISSING_QEMU)
}

pub(crate) fn catalog_failed(error: CatalogError) -> Error {
    let (code, what, hint) = match &error {
        CatalogError::UnknownEnvironment {
            name,
            nearest,
            known,
            on_docker_hub,
        } => {
            let hint = match nearest {
                Some(nearest) => format!("Did you mean `{nearest}`?"),
                None => "See `pyro env list` (`vm_list_environments`)".to_owned(),
            };
            let hint = match on_docker_hub {
                Some(image) => format!("{hint} The image of Docker Hub is `{image}`"),
                None => hint,
            };
            return Error::new(
                ErrorCode::UnknownEnvironment,
                format!("There is no environment `{name}`"),
            )
            .because(format!("known environments: {}", known.join(", ")))
            .hint(hint);
        }
        CatalogError::Reference(error) => (
            ErrorCode::InvalidArgument,
            "This names no environment".to_owned(),
            match error {
                ReferenceError::BarePath { text } => format!(
                    "Name a file as `oci-archive:{text}` or `docker-archive:{text}`, a folder as `oci:{text}`"
                ),
                ReferenceError::UnknownTransport {
                    nearest: Some(nearest),
                    ..
                } => format!("Did you mean `{nearest}:`?"),
                _ => "Name one of `pyro env list`; an image as its registry has it, such as `python:3.13` or \
                      `ghcr.io/org/name:tag`; or `oci-archive:FILE`, `docker-archive:FILE` or `oci:FOLDER`, with \
                      `:NAME` after it where it holds several"
                    .to_owned(),
            },
        ),
        CatalogError::Access(error) => (
            ErrorCode::InvalidArgument,
            "A setting for registries cannot be used".to_owned(),
            format!("Correct {}, or unset it", error.variable),
        ),
        CatalogError::Image { name, source } => return image_failed(name, source),
        CatalogError::NotKept { name } => (
            ErrorCode::UnknownEnvironment,
            format!("There is no environment `{name}` any more"),
            "It was kept by somebody, and deleted; see `pyro env list` (`vm_list_environments`)".to_owned(),
        ),
        CatalogError::BadKeptName { name, why } => {
            return Error::invalid(format!("An environment cannot be called `{name}`"))
                .because(why)
                .hint("Give a name such as `app`, `team/app` or `app:1.0`");
        }
        CatalogError::NameTaken { name } => {
            return Error::new(
                ErrorCode::Conflict,
                format!("There is an environment `{name}` already"),
            )
            .hint(format!(
                "Give another name, or put this one in its place with `--replace` (`replace`); `pyro env delete \
                 {name}` removes it"
            ));
        }
        CatalogError::Busy { name } => {
            return Error::new(
                ErrorCode::Conflict,
                format!("Environment `{name}` is being made or pulled just now"),
            )
            .hint("Wait for that to end, or end it");
        }
        CatalogError::NoDiskWriter => (
            ErrorCode::Internal,
            "The image cannot be unpacked".to_owned(),
            "Name an environment of `pyro env list`".to_owned(),
        ),
        CatalogError::DiskWriter { source, .. } if source.is::<Error>() => {
            // In words that are the engine's already.
            return source.downcast_ref().cloned().unwrap_or_else(cancelled);
        }
        CatalogError::DiskWriter { name, .. } => (
            ErrorCode::PullFailed,
            format!("The disk of `{name}` could not be made"),
            "Try again; nothing incomplete was kept".to_owned(),
        ),
        CatalogError::NotInstalled { name } => (
            ErrorCode::UnknownEnvironment,
            format!("Environment `{name}` is not installed"),
            format!("Install it with `pyro env pull {name}`"),
        ),
        CatalogError::ToolMissing {
            tool,
            package,
            needed_to,
            ..
        } => (
            ErrorCode::ToolMissing,
            format!("`{tool}` is needed to {needed_to}, but was not found"),
            format!("Install it with `sudo apt-get install {package}`"),
        ),
        CatalogError::CacheNotWritable { path, .. } => (
            ErrorCode::HostIo,
            format!(
                "The environment cache cannot be written: {}",
                path.display()
            ),
            "Make it writable, or set PYRO_ENVIRONMENT_CACHE_DIR to another folder".to_owned(),
        ),
        CatalogError::NoSpace { .. } => (
            ErrorCode::NoSpace,
            "The disk of the environment cache is full".to_owned(),
            FREE_SPACE.to_owned(),
        ),
        CatalogError::Damaged { .. } => (
            ErrorCode::Damaged,
            "An installed environment is damaged".to_owned(),
            "Repair it with `pyro env pull ENVIRONMENT`".to_owned(),
        ),
        CatalogError::NewerManifest { .. } => (
            ErrorCode::NewerState,
            "The environment cache belongs to a newer pyro".to_owned(),
            "Update pyro, or set PYRO_ENVIRONMENT_CACHE_DIR to another folder".to_owned(),
        ),
        CatalogError::UserNamespaces { fix, .. } => (
            ErrorCode::PullFailed,
            "Environments cannot be built without root on this host".to_owned(),
            fix.clone(),
        ),
        CatalogError::BadMirror { .. } => (
            ErrorCode::InvalidArgument,
            "The Debian mirror cannot be used".to_owned(),
            "Set PYRO_DEBIAN_MIRROR to an address such as http://deb.debian.org/debian, or \
                 unset it"
                .to_owned(),
        ),
        CatalogError::BuildFailed { environment, .. }
        | CatalogError::BuildTimedOut { environment, .. } => (
            ErrorCode::PullFailed,
            format!("Environment `{environment}` could not be built"),
            "Check that the Debian mirror can be reached (PYRO_DEBIAN_MIRROR selects another one), \
             then try again; nothing incomplete was kept"
                .to_owned(),
        ),
        CatalogError::FetchFailed { package, .. } | CatalogError::FetchTimedOut { package, .. } => (
            ErrorCode::PullFailed,
            format!("gVisor's `{package}` could not be fetched"),
            "Check that the Debian mirror can be reached (PYRO_DEBIAN_MIRROR selects another one), \
             then try again, or set PYRO_RUNSC to a `runsc` that is there; nothing incomplete was \
             kept"
                .to_owned(),
        ),
        CatalogError::RunscUnusable { origin, .. } => (
            ErrorCode::ToolMissing,
            "gVisor's `runsc` cannot be used".to_owned(),
            match origin {
                RunscOrigin::Override => {
                    "Set PYRO_RUNSC to a `runsc` for this machine of July 2023 or later, or unset \
                     it: pyro then finds or fetches one"
                }
                RunscOrigin::OnPath | RunscOrigin::Package => {
                    "Check that programs can be run from the environment cache (that it is not \
                     mounted `noexec`), or set PYRO_RUNSC to another `runsc`"
                }
            }
            .to_owned(),
        ),
        CatalogError::Cancelled => return cancelled(),
        CatalogError::KernelUnusable { .. } => (
            ErrorCode::PullFailed,
            "The guest kernel cannot be used".to_owned(),
            "Try `pyro env prune` and pull again".to_owned(),
        ),
        CatalogError::AgentMissing { .. } | CatalogError::AgentNotStatic { .. } => (
            ErrorCode::ToolMissing,
            "The guest agent cannot be used".to_owned(),
            "Build pyro with `make build`, or set PYRO_AGENT to the path of a static `pyro-agent`"
                .to_owned(),
        ),
        CatalogError::Io { .. } => (
            ErrorCode::HostIo,
            "The environment cache cannot be used".to_owned(),
            "Check the disk and the owner of the folder, or set PYRO_ENVIRONMENT_CACHE_DIR to \
             another folder"
                .to_owned(),
        ),
    };
    Error::new(code, what).caused_by(&error).hint(hint)
}

fn registry_failed(name: &str, error: &RegistryError) -> Error {
    let (code, hint) = match error {
        RegistryError::NoSuchImage { .. } => (
            ErrorCode::UnknownEnvironment,
            "Check the name and the tag".to_owned(),
        ),
        RegistryError::NotAllowed {
            registry,
            has_credentials,
            ..
        } => (
            ErrorCode::PullFailed,
            // Registries say the same of what there is not.
            match has_credentials {
                true => format!(
                    "Check the name; if it is right, log in as somebody who may see it, with `docker login \
                     {registry}` or `podman login {registry}`"
                ),
                false => format!(
                    "Check the name; if it is right, log in with `docker login {registry}` or \
                     `podman login {registry}`"
                ),
            },
        ),
        RegistryError::Certificate { .. } => (
            ErrorCode::PullFailed,
            "Set SSL_CERT_FILE to a file with the certificates to trust, that of the authority that signed the \
             registry's among them"
                .to_owned(),
        ),
        RegistryError::NoTls { registry } => (
            ErrorCode::PullFailed,
            format!(
                "If the network up to it can be trusted, set PYRO_INSECURE_REGISTRIES={registry}"
            ),
        ),
        RegistryError::TooOften { registry } => (
            ErrorCode::PullFailed,
            format!(
                "Wait, log in with `docker login {registry}`, or set PYRO_DOCKER_MIRROR to a registry that mirrors \
                 Docker Hub"
            ),
        ),
        RegistryError::Credentials { registry, .. } => (
            ErrorCode::PullFailed,
            format!("Log in again with `docker login {registry}` or `podman login {registry}`"),
        ),
        RegistryError::Refused { .. } | RegistryError::Status { .. } => (
            ErrorCode::PullFailed,
            "Try again later, or copy the image to a file with `skopeo copy`".to_owned(),
        ),
        RegistryError::Unreachable { .. }
        | RegistryError::Silent { .. }
        | RegistryError::BrokeOff { .. } => (
            ErrorCode::PullFailed,
            "Check the network and try again; what was fetched is kept".to_owned(),
        ),
    };
    Error::new(code, format!("`{name}` could not be pulled"))
        .caused_by(error)
        .hint(hint)
}

const CHECK_PATH: &str =
    "Check the path; a relative one begins at the folder where pyro was started";

pub(crate) fn image_failed(name: &str, source: &OciError) -> Error {
    let (code, hint) = match source {
        OciError::NotFound { .. } => (ErrorCode::UnknownEnvironment, CHECK_PATH),
        OciError::Path { .. } => (ErrorCode::HostIo, CHECK_PATH),
        OciError::Registry(error) => return registry_failed(name, error),
        OciError::NoSuchName { .. } | OciError::SeveralImages { .. } => (
            ErrorCode::InvalidArgument,
            "Put a colon and one of these names after the path",
        ),
        OciError::OtherPlatform { .. } => (
            ErrorCode::InvalidArgument,
            "Build or save the image for linux/amd64",
        ),
        _ => (
            ErrorCode::PullFailed,
            "Save the image again, with `skopeo copy`, `podman save` or `docker save`; nothing incomplete was \
             kept",
        ),
    };
    Error::new(code, format!("`{name}` cannot be used as an environment"))
        .caused_by(source)
        .hint(hint)
}

/// Files or processes in a user namespace cannot be had.
pub(crate) fn namespaces_refused(error: NamespaceError) -> Error {
    let code = match &error {
        NamespaceError::Forbidden(_) => ErrorCode::VmUnavailable,
        NamespaceError::Exec { .. } => ErrorCode::Internal,
        NamespaceError::Io { .. } => ErrorCode::HostIo,
    };
    let told = Error::new(code, "A user namespace cannot be used").because(&error);
    match error.fix() {
        Some(fix) => told.hint(fix),
        None => told,
    }
}

/// The caller does not want the operation any more.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, "The call was cancelled")
}

/// Whether a file system has no room left for data, or for one more file.
pub(crate) fn is_full(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|room| {
        room.blocks_available() == 0 || (room.files() > 0 && room.files_available() == 0)
    })
}

/// Nothing can be kept in the state folder.
pub(crate) fn state_unusable(state_dir: &Path, error: &io::Error) -> Error {
    let what = format!("The state folder cannot be used: {}", state_dir.display());
    let told = host_io(what, error);
    match told.code {
        ErrorCode::NoSpace => told,
        _ => told.hint("Make it writable, or set PYRO_STATE_DIR to another folder"),
    }
}

/// A file of the host could not be used; a full disk is told apart.
pub(crate) fn host_io(what: impl Into<String>, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorCode::NoSpace, what)
                .caused_by(error)
                .hint(FREE_SPACE)
        }
        _ => Error::new(ErrorCode::HostIo, what).caused_by(error),
    }
}

/// What a guest made lies so deep that it cannot be copied.
pub(crate) fn too_deep(what: &str) -> Error {
    Error::new(ErrorCode::HostIo, what)
        .hint("Remove or move the folders that lie so deep (`rm -r` in the workspace reaches them)")
}

pub(crate) fn launch_failed(vm_id: &str, error: LaunchError) -> Error {
    let what = format!("VM `{vm_id}` did not start");
    match error {
        LaunchError::Failed { fault } => from_fault(what, fault),
        LaunchError::LaunchFile { source } => host_io(what, &source),
        LaunchError::NoAnswer { .. } => Error::new(ErrorCode::BootTimeout, what)
            .because(&error)
            .hint(LESS_LOAD),
        LaunchError::ShimGone { .. } => Error::new(ErrorCode::VmDied, what).because(&error).hint(
            "Try again; if it keeps happening, check `pyro doctor`, and the kernel log for killed \
             processes",
        ),
        LaunchError::Start { .. } | LaunchError::Garbled { .. } | LaunchError::CallerGone => {
            Error::new(ErrorCode::Internal, what)
                .caused_by(&error)
                .hint("If PYRO_BIN is set, check that it is the `pyro` of this version")
        }
    }
}

/// The same for a sandbox, where neither QEMU nor KVM is at fault.
pub(crate) fn sandbox_launch_failed(vm_id: &str, error: LaunchError) -> Error {
    let of_runsc = matches!(
        &error,
        LaunchError::Failed { fault }
            if matches!(fault.code, FaultCode::VmmMissing | FaultCode::VmmFailed)
    );
    let told = launch_failed(vm_id, error);
    if of_runsc {
        return told.hint(IN_A_VM);
    }
    told
}

/// This host refuses what every sandbox needs.
pub(crate) fn no_sandboxes(error: NamespaceError) -> Error {
    let told = namespaces_refused(error);
    let hint = match &told.hint {
        Some(fix) => format!("{fix}. Or run the command in a VM: `--isolation vm` (`isolation`)"),
        None => IN_A_VM.to_owned(),
    };
    Error {
        error: "gVisor sandboxes cannot run here".to_owned(),
        ..told
    }
    .hint(hint)
}

pub(crate) fn shim_failed(vm_id: &str, error: &ShimError) -> Error {
    let what = format!("VM `{vm_id}` cannot be reached");
    match error {
        ShimError::Failed { fault } => from_fault(what, fault.clone()),
        _ => Error::new(ErrorCode::VmDied, what)
            .caused_by(error)
            .hint(RUN_AGAIN),
    }
}

pub(crate) fn command_refused(vm_id: &str, fault: Fault) -> Error {
    let is_folder = fault.code == FaultCode::NotFound;
    let what = format!("The command could not be started in VM `{vm_id}`");
    let error = from_fault(what, fault);
    match is_folder {
        true => error.hint("Give a folder that the guest has with `--cwd` (`cwd`), such as `/`"),
        false => error,
    }
}

/// What to do about a user that a guest does not have.
pub(crate) const WHICH_USERS: &str = "Give a name of the guest's `/etc/passwd`, or UID:GID, with `--user` \
                                      (`user`); when nobody is named it is the image's `User`";

pub(crate) fn vm_died(vm_id: &str, error: &CommandError) -> Error {
    Error::new(
        ErrorCode::VmDied,
        format!("VM `{vm_id}` ended before the command did"),
    )
    .caused_by(error)
    .hint(RUN_AGAIN)
}

/// Says that a VM went because its supervisor did.
pub(crate) fn supervisor_gone(mut error: Error) -> Error {
    error.causes = vec![
        "its supervisor (`pyro shim`) exited without a message, so it was probably killed".into(),
    ];
    error
}

const MORE_MEMORY: &str = "Give it more memory with `--mem-mib` (`mem_mib`), or have the command use \
                           less";

/// A VM that ended under a command, with its shim's last words.
pub(crate) fn vm_ended(vm_id: &str, ended: Ended) -> Error {
    let (code, hint) = match ended.reason {
        EndReason::Expired => (
            ErrorCode::VmExpired,
            "Give the VM more time with `--ttl-seconds` (`ttl_seconds`)",
        ),
        EndReason::NoSpace => (ErrorCode::NoSpace, FREE_SPACE),
        EndReason::OutOfMemory => (ErrorCode::VmDied, MORE_MEMORY),
        EndReason::GuestOff => (
            ErrorCode::VmDied,
            "The guest powered off; run the command again if that was not intended",
        ),
        EndReason::Stopped
        | EndReason::Idle
        | EndReason::OwnerGone
        | EndReason::Died
        | EndReason::Unknown => (ErrorCode::VmDied, RUN_AGAIN),
    };
    let mut error = Error::new(code, format!("VM `{vm_id}` ended before the command did"))
        .because(ended.message);
    error.causes.extend(console(ended.console_tail));
    error.hint(hint)
}

pub(crate) fn wrong_state(record: &VmRecord, wanted: &str, allowed: &str) -> Error {
    Error::new(
        ErrorCode::WrongState,
        format!(
            "VM `{}` is {} and cannot be {wanted}",
            record.vm_id, record.state
        ),
    )
    .because(format!("this needs a VM that is {allowed}"))
}

/// Work on a thread that broke.
pub(crate) fn broke(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorCode::Internal, "Internal error in pyro").caused_by(error)
}

fn from_fault(what: String, fault: Fault) -> Error {
    let (code, hint) = match fault.code {
        FaultCode::VmmMissing => (ErrorCode::VmUnavailable, Some(INSTALL_QEMU)),
        FaultCode::VmmFailed => (
            ErrorCode::VmUnavailable,
            Some("See `pyro doctor`; PYRO_ACCELERATOR=tcg runs VMs without KVM"),
        ),
        FaultCode::BootTimeout => (ErrorCode::BootTimeout, Some(LESS_LOAD)),
        FaultCode::BootFailed => (
            ErrorCode::BootFailed,
            Some("Verify the environment with `pyro env pull ENVIRONMENT`, then try again"),
        ),
        FaultCode::GuestDied | FaultCode::Over => (ErrorCode::VmDied, Some(RUN_AGAIN)),
        FaultCode::NoSpace => (ErrorCode::NoSpace, Some(FREE_SPACE)),
        FaultCode::HostIo => (ErrorCode::HostIo, None),
        FaultCode::Refused
        | FaultCode::TooMany
        | FaultCode::NotFound
        | FaultCode::BadPath
        | FaultCode::LineTooLong => (ErrorCode::InvalidArgument, None),
        FaultCode::UnknownUser => (ErrorCode::InvalidArgument, Some(WHICH_USERS)),
        FaultCode::Conflict => (ErrorCode::Conflict, None),
        FaultCode::GuestNoSpace => (
            ErrorCode::GuestNoSpace,
            Some("Remove files in the guest that are not needed"),
        ),
        FaultCode::GuestIo => (ErrorCode::GuestIo, None),
        FaultCode::Protocol | FaultCode::Unknown => (
            ErrorCode::Internal,
            Some("Check that `pyro` and `pyro-agent` come from the same build"),
        ),
    };
    let mut error = Error::new(code, what).because(fault.message);
    error.causes.extend(console(fault.detail));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The end of a console as one cause of several lines.
fn console(lines: Vec<String>) -> Option<String> {
    (!lines.is_empty()).then(|| format!("the last lines of its console:\n{}", lines.join("\n")))
}
