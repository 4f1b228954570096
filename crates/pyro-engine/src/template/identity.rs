//! Everything that shaped a template.

use pyro_api::Error;
use pyro_catalog::Installed;
use pyro_wire::PROTOCOL;
use pyro_wire::launch::AcceleratorChoice;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{QEMU, on_path};
use crate::engine::Engine;
use crate::error::catalog_failed;
use crate::stamp;

/// Raised when templates of before are of no use although nothing below has changed.
const GENERATION: u32 = 1;

/// The size of a VM, as far as a template depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) vcpu_count: u32,
    pub(crate) mem_mib: u32,
    /// With a network card.
    pub(crate) network: bool,
}

/// How far the guest of a template had come when it was frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Root mounted, page cache filled: only for disks that nobody has used, on the template's own
    /// layer.
    Mounted,
    /// In the initramfs, where it has looked at no disk: for any chain of layers.
    Bare,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mounted => "mounted",
            Self::Bare => "bare",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    generation: u32,
    kind: Kind,
    protocol: u32,
    /// The supervisor writes QEMU's command line, so another one may mean other devices.
    pyro: String,
    qemu: String,
    /// The image that is mounted; a bare guest knows none.
    rootfs_digest: Option<String>,
    /// What a bare guest does know of its disk: the kernel asks for the size once.
    disk_bytes: u64,
    kernel_digest: String,
    /// The archive's name is the digest of kernel modules and agent.
    initramfs: String,
    vcpu_count: u32,
    mem_mib: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    network: bool,
    accelerator: AcceleratorChoice,
    /// Whether KVM works is found out once per start of the host, and so are templates.
    host_boot: String,
}

impl Identity {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether its guest knows this disk.
    pub(super) fn mounts(&self, digest: &str) -> bool {
        self.rootfs_digest.as_deref() == Some(digest)
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            vcpu_count: self.vcpu_count,
            mem_mib: self.mem_mib,
            network: self.network,
        }
    }

    pub(crate) fn key(&self) -> String {
        // Writing a struct of plain fields into memory has no way to fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(text);
        digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Engine {
    /// `None` where no template can be made, because the cache or QEMU is out of reach.
    pub(super) fn template_identity(
        &self,
        installed: &Installed,
        shape: Shape,
        kind: Kind,
    ) -> Result<Option<Identity>, Error> {
        let Some(qemu) = on_path(QEMU) else {
            return Ok(None);
        };
        let agent = self.config().agent()?;
        let initramfs = match self.catalog().initramfs(&installed.kernel, agent) {
            Ok(path) => path,
            Err(pyro_catalog::CatalogError::CacheNotWritable { .. }) => return Ok(None),
            Err(error) => return Err(catalog_failed(error)),
        };
        Ok(Some(Identity {
            generation: GENERATION,
            kind,
            protocol: PROTOCOL,
            pyro: stamp::of_file(self.config().pyro()?),
            qemu: stamp::of_file(&qemu),
            rootfs_digest: (kind == Kind::Mounted).then(|| installed.rootfs_digest.clone()),
            disk_bytes: installed.virtual_size,
            kernel_digest: installed.kernel.digest.clone(),
            initramfs: initramfs
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            vcpu_count: shape.vcpu_count,
            mem_mib: shape.mem_mib,
            network: shape.network,
            accelerator: self.config().accelerator,
            host_boot: stamp::host_boot(),
        }))
    }
}
