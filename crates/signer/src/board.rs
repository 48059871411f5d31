//! The newest head of each tenant on its way from one part of the signer to another: nobody waits for a reader, and what a newer
//! one replaces is of no use. Its bound is the number of tenants.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use logline_proof::SignedCheckpoint;
use logline_span::TenantId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Board {
    heads: Mutex<HashMap<TenantId, SignedCheckpoint>>,
    news: Notify,
}

impl Board {
    /// Puts a head in place of an earlier one of its tenant.
    pub(crate) fn put(&self, tenant: TenantId, signed: SignedCheckpoint) {
        self.heads().insert(tenant, signed);
        self.news.notify_one();
    }

    /// Waits until something was put since this was last asked; for one reader.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }

    /// Whose heads lie there.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.heads().keys().cloned().collect()
    }

    /// Takes one tenant's head.
    pub(crate) fn take(&self, tenant: &TenantId) -> Option<SignedCheckpoint> {
        self.heads().remove(tenant)
    }

    /// Takes all of them.
    pub(crate) fn drain(&self) -> Vec<(TenantId, SignedCheckpoint)> {
        self.heads().drain().collect()
    }

    // A map is whole wherever a panic left it.
    fn heads(&self) -> MutexGuard<'_, HashMap<TenantId, SignedCheckpoint>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
