//! The heads of the tenants' chains, kept in memory.

use std::collections::HashMap;

use logline_span::{Head, TenantId};

/// Heads as of the last row sealed here, committed or not.
pub(crate) struct Heads {
    kept: HashMap<TenantId, Kept>,
    kept_max: usize,
}

struct Kept {
    head: Head,
    batch: u64,
}

impl Heads {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            kept: HashMap::new(),
            kept_max,
        }
    }

    pub(crate) fn knows(&self, tenant: &TenantId) -> bool {
        self.kept.contains_key(tenant)
    }

    /// Takes in a head that the ledger gave.
    pub(crate) fn load(&mut self, tenant: TenantId, head: Head, batch: u64) {
        self.kept.insert(tenant, Kept { head, batch });
    }

    /// The head to seal onto, marked as used by `batch`.
    pub(crate) fn get_mut(&mut self, tenant: &TenantId, batch: u64) -> Option<&mut Head> {
        let kept = self.kept.get_mut(tenant)?;
        kept.batch = batch;
        Some(&mut kept.head)
    }

    /// Keeps memory bounded: beyond the limit, heads idle since `committed` are read again when needed.
    ///
    /// A head of a batch in flight stays: the ledger does not have it yet.
    pub(crate) fn trim(&mut self, committed: u64) {
        if self.kept.len() > self.kept_max {
            self.kept.retain(|_, kept| kept.batch > committed);
        }
    }
}
