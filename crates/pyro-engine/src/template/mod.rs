//! Templates: guests frozen just before they become somebody's, so that VMs start by resuming one
//! and not by booting.
//!
//! ```text
//! <cache>/templates/
//!     <key>/            memory  devices  disk.qcow2  template.json
//!     .lock-<key>       held while somebody builds it
//!     .partial-…        a build at work, or what a killed one left
//! ```
//!
//! A key is the digest of everything that shaped the guest, so a template is never out of date: it
//! is found or it is not. What no key leads to any more is removed by `pyro env prune`, and the
//! least used go when all together pass a size.

mod build;
mod identity;
mod shelf;

pub(crate) use shelf::{Shelf, Template};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error, Event};
use pyro_catalog::Installed;

use crate::config::Templates;
use crate::engine::Engine;
use crate::machine::create::TEMPLATE;
use crate::machine::start::cancelled;

/// The facts of a VM's record that name files of the cache.
const CACHE_FACTS: [&str; 3] = ["environment_install_dir", "kernel_image", "rootfs_image"];

/// The size of a VM, as far as a template depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) vcpu_count: u32,
    pub(crate) mem_mib: u32,
}

impl Engine {
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::at(self.config().cache_dir.join("templates"))
    }

    /// The template for VMs of this shape, built when there is none yet. `None` when templates are
    /// switched off, and when building one failed: a VM then boots.
    pub(crate) async fn template(
        &self,
        installed: &Installed,
        shape: Shape,
        caller: &Caller,
    ) -> Result<Option<Template>, Error> {
        if self.config().templates == Templates::Off {
            return Ok(None);
        }
        let Some(identity) = self.template_identity(installed, shape)? else {
            return Ok(None);
        };
        let key = identity.key();
        if let Some(template) = self.shelf().find(&key) {
            return Ok(Some(template));
        }
        let fields = vec![
            ("environment", installed.spec.name.to_owned()),
            ("vcpu_count", shape.vcpu_count.to_string()),
            ("mem_mib", shape.mem_mib.to_string()),
        ];
        caller
            .emit(Event::Phase {
                scope: "template",
                phase: "build",
                fields,
            })
            .map_err(|_| cancelled())?;
        match self.build_template(installed, shape, &identity).await {
            Ok(template) => Ok(Some(template)),
            Err(error) => {
                let why = std::iter::once(error.error).chain(error.causes);
                let why = why.collect::<Vec<_>>().join(": ");
                caller
                    .emit(Event::Note(format!(
                        "no template could be made, booting instead: {why}"
                    )))
                    .map_err(|_| cancelled())?;
                Ok(None)
            }
        }
    }

    /// What tells whether a VM made now would start from the same as one made before.
    pub(crate) fn template_key(
        &self,
        installed: &Installed,
        shape: Shape,
    ) -> Result<Option<String>, Error> {
        let identity = self.template_identity(installed, shape)?;
        Ok(identity.map(|identity| identity.key()))
    }

    /// Removes the templates that no VM of today would start from; tells names and bytes.
    pub(crate) fn prune_templates(&self, in_use: impl Fn(&Path) -> bool) -> (Vec<String>, u64) {
        let installed: Vec<Installed> = pyro_catalog::environments()
            .iter()
            .filter_map(|spec| self.catalog().installed(spec).ok()?)
            .collect();
        self.shelf().prune(|folder, identity| {
            let current = installed.iter().any(|installed| {
                let again = self.template_identity(installed, identity.shape());
                again.is_ok_and(|again| again.as_ref() == Some(identity))
            });
            current || in_use(folder)
        })
    }

    /// Files and folders of the cache that VMs of today's records stand on.
    pub(crate) fn used_cache_paths(&self) -> Result<HashSet<PathBuf>, Error> {
        let mut used = HashSet::new();
        for vm in self.store()?.vms()?.into_iter().flatten() {
            let facts = &vm.record.metadata;
            let files = CACHE_FACTS.iter().filter_map(|fact| facts.get(*fact));
            used.extend(files.map(PathBuf::from));
            used.extend(facts.get(TEMPLATE).map(|key| self.shelf().folder(key)));
        }
        Ok(used)
    }
}
