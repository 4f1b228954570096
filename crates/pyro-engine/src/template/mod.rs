//! Templates: guests frozen just before they become somebody's, so that VMs start by resuming one
//! and not by booting.
//!
//! ```text
//! <cache>/templates/
//!     <key>-<build>/    guest/memory  guest/devices  guest/facts.json  disk.qcow2  template.json
//!     .lock-<key>       held while somebody builds it
//!     .partial-…        a build at work, or what a killed one left
//! ```
//!
//! There are two kinds. A new VM resumes a *mounted* template, and its disk lies on the template's
//! layer from then on. Every other one, such as a VM that was stopped and starts again, resumes a
//! *bare* one, which has no layer and fits under any chain. [`Engine::template_for`] says which.
//!
//! A key is the digest of everything that shaped the guest, so a template is never out of date: it
//! is found or it is not. Each build has a name of its own, because the disks of VMs stand on the
//! layer of one build, and another build of the same key has another layer. What no key leads to
//! any more is removed by `pyro env prune`, and the least used go when all together pass a size;
//! neither takes the layer away from below a VM.

mod build;
mod cache;
mod identity;

pub(crate) use cache::{Template, TemplateCache};
pub(crate) use identity::{Kind, Shape};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error, Event};
use pyro_catalog::Installed;
use pyro_wire::launch::DiskLayer;

use crate::config::Templates;
use crate::engine::Engine;
use crate::error::cancelled;
use crate::machine::facts::{INSTALL_DIR, TEMPLATE, TREE};

/// The facts of a VM's record that name files of the cache.
const CACHE_FACTS: [&str; 4] = [INSTALL_DIR, "kernel_image", "rootfs_image", TREE];

/// What a VM is about to start on: decides which template fits.
pub(crate) struct TemplateQuery<'a> {
    pub(crate) installed: &'a Installed,
    pub(crate) shape: Shape,
    /// The VM's disk, bottom first; the last layer is the one that it writes to.
    pub(crate) chain: &'a [DiskLayer],
    /// No guest has had the last layer yet, not even one that failed to start.
    pub(crate) pristine: bool,
}

impl Engine {
    pub(crate) fn template_cache(&self) -> TemplateCache {
        TemplateCache::at(self.config().cache_dir.join("templates"))
    }

    /// The template to resume for a VM on its chain of disk layers, built when there is none yet:
    /// the mounted one on whose layer the disk lies, as long as nothing was written above it, else
    /// the bare one. `None` when the VM has to boot.
    pub(crate) async fn template_for(
        &self,
        query: &TemplateQuery<'_>,
        caller: &Caller,
    ) -> Result<Option<Template>, Error> {
        if let Some(mounted) = self.mounted_below(query)? {
            return Ok(Some(mounted));
        }
        if query.pristine && query.chain.len() <= query.installed.layers.len() + 2 {
            // A new disk right on the environment: a moment ago no template could be made for it, and
            // another try at this one would fail likewise.
            return self.ready_template(query.installed, query.shape, Kind::Bare);
        }
        self.template(query.installed, query.shape, Kind::Bare, caller)
            .await
    }

    fn ready_template(
        &self,
        installed: &Installed,
        shape: Shape,
        kind: Kind,
    ) -> Result<Option<Template>, Error> {
        if self.config().templates == Templates::Off {
            return Ok(None);
        }
        let identity = self.template_identity(installed, shape, kind)?;
        Ok(identity.and_then(|identity| self.template_cache().find(&identity.key())))
    }

    /// The mounted template that remembers the disk as it is: any layer between its own and the
    /// VM's empty one may hold what its page cache does not know.
    fn mounted_below(&self, query: &TemplateQuery<'_>) -> Result<Option<Template>, Error> {
        let [.., below, _own] = query.chain else {
            return Ok(None);
        };
        if !query.pristine || self.config().templates == Templates::Off {
            return Ok(None);
        }
        let identity = self.template_identity(query.installed, query.shape, Kind::Mounted)?;
        Ok(identity
            .and_then(|identity| self.template_cache().find_on(&identity.key(), &below.path)))
    }

    /// The template of one kind for VMs of this shape, built when there is none yet. `None` when
    /// templates are switched off, and when building one failed: a VM then boots.
    pub(crate) async fn template(
        &self,
        installed: &Installed,
        shape: Shape,
        kind: Kind,
        caller: &Caller,
    ) -> Result<Option<Template>, Error> {
        if self.config().templates == Templates::Off {
            return Ok(None);
        }
        let Some(identity) = self.template_identity(installed, shape, kind)? else {
            return Ok(None);
        };
        if let Some(template) = self.template_cache().find(&identity.key()) {
            return Ok(Some(template));
        }
        let fields = vec![
            ("kind", kind.name().to_owned()),
            ("environment", installed.spec.name.to_owned()),
            ("vcpu_count", shape.vcpu_count.to_string()),
            ("mem_mib", shape.mem_mib.to_string()),
            ("network", shape.network.to_string()),
        ];
        caller
            .emit(Event::Phase {
                scope: "template",
                phase: "build",
                fields,
            })
            .map_err(|_| cancelled())?;
        match self.build_template(installed, &identity).await {
            Ok(template) => Ok(Some(template)),
            Err(error) => {
                let why = std::iter::once(error.error).chain(error.causes);
                let why = why.collect::<Vec<_>>().join(": ");
                caller
                    .emit(Event::Note(format!("booting without a template: {why}")))
                    .map_err(|_| cancelled())?;
                Ok(None)
            }
        }
    }

    /// Takes a template that could not be resumed away, so that the next VM makes a new one.
    pub(crate) fn discard_template(&self, template: Template) {
        self.template_cache()
            .discard(template, |folder| self.is_in_use(folder));
    }

    /// What tells whether a VM made now would start from the same as one made before.
    pub(crate) fn template_key(
        &self,
        installed: &Installed,
        shape: Shape,
    ) -> Result<Option<String>, Error> {
        let identity = self.template_identity(installed, shape, Kind::Mounted)?;
        Ok(identity.map(|identity| identity.key()))
    }

    /// Removes the templates that no VM of today would start from; tells names and bytes.
    pub(crate) fn prune_templates(&self) -> (Vec<String>, u64) {
        let installed = self.catalog().all_installed();
        let is_current = |identity: &identity::Identity| {
            installed.iter().any(|installed| {
                let again = self.template_identity(installed, identity.shape(), identity.kind());
                again.is_ok_and(|again| again.as_ref() == Some(identity))
            })
        };
        self.template_cache()
            .prune(is_current, |folder| self.is_in_use(folder))
    }

    /// Removes the templates that have this disk mounted, if no environment has it any more.
    pub(crate) fn prune_templates_of(&self, digest: &str) -> (Vec<String>, u64) {
        let mut installed = self.catalog().all_installed().into_iter();
        if installed.any(|installed| installed.rootfs_digest == digest) {
            return (Vec::new(), 0);
        }
        self.template_cache().prune(
            |identity| !identity.mounts(digest),
            |folder| self.is_in_use(folder),
        )
    }

    /// Whether the disk of a VM stands on the layer of a template. When the records cannot be
    /// read it may, so it does.
    fn is_in_use(&self, folder: &Path) -> bool {
        self.used_cache_paths()
            .map_or(true, |used| used.contains(folder))
    }

    /// Files and folders of the cache that VMs of today's records stand on.
    pub(crate) fn used_cache_paths(&self) -> Result<HashSet<PathBuf>, Error> {
        let mut used = HashSet::new();
        let store = self.store()?;
        let vms = store.vms()?.into_iter().flatten();
        let workspaces = store.workspaces()?.into_iter().flatten();
        let facts = vms
            .map(|vm| vm.record.metadata)
            .chain(workspaces.map(|workspace| workspace.record.metadata));
        for facts in facts {
            let files = CACHE_FACTS.iter().filter_map(|fact| facts.get(*fact));
            used.extend(files.map(PathBuf::from));
            used.extend(
                facts
                    .get(TEMPLATE)
                    .map(|name| self.template_cache().folder(name)),
            );
        }
        Ok(used)
    }
}
