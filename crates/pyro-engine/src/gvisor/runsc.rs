//! The `runsc` that sandboxes run with: the catalog's choice, its fetching told to whoever waits.

use pyro_api::{Caller, Error};
use pyro_catalog::{CatalogError, Runsc};

use crate::engine::Engine;

impl Engine {
    /// The one to use; Debian's is fetched where there is none.
    pub(crate) async fn runsc(&self, caller: &Caller) -> Result<Runsc, Error> {
        let chosen = self.config().runsc.clone();
        self.watched(caller, move |catalog, monitor| {
            catalog.runsc(chosen.as_deref(), monitor)
        })
        .await
    }

    /// The one that would be used now; nothing is fetched. Blocks for as long as it takes to ask a program
    /// for its version.
    pub(crate) fn installed_runsc(&self) -> Result<Option<Runsc>, CatalogError> {
        self.catalog()
            .installed_runsc(self.config().runsc.as_deref())
    }
}
