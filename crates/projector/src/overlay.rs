//! The rows that are sealed here and may not be in Postgres yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use logline_span::{Principal, Sealed, SpanId, TenantId};

/// Rows of the batches in flight, found as the ledger would find them.
///
/// INVARIANT (overlay): a row leaves only after its batch is known to be committed *before* the
/// ledger is asked, so that overlay and ledger together never miss one.
#[derive(Default)]
pub(crate) struct Overlay {
    by_id: HashMap<SpanId, Vec<Arc<Sealed>>>,
    by_key: HashMap<Box<str>, Vec<Arc<Sealed>>>,
    batches: VecDeque<(u64, Vec<Arc<Sealed>>)>,
}

impl Overlay {
    /// Adds a row of batch `batch`; batches are numbered upwards.
    pub(crate) fn insert(&mut self, batch: u64, row: &Arc<Sealed>) {
        self.by_id
            .entry(row.span.id)
            .or_default()
            .push(Arc::clone(row));
        if let Some(key) = &row.span.idempotency_key {
            self.by_key
                .entry(key.as_str().into())
                .or_default()
                .push(Arc::clone(row));
        }
        match self.batches.back_mut() {
            Some((last, rows)) if *last == batch => rows.push(Arc::clone(row)),
            Some(_) | None => self.batches.push_back((batch, vec![Arc::clone(row)])),
        }
    }

    /// Forgets the batches up to and including `batch`.
    pub(crate) fn forget_through(&mut self, batch: u64) {
        while self
            .batches
            .front()
            .is_some_and(|(first, _)| *first <= batch)
        {
            let Some((_, rows)) = self.batches.pop_front() else {
                return;
            };
            for row in rows {
                take(&mut self.by_id, &row.span.id, &row);
                if let Some(key) = &row.span.idempotency_key {
                    take(&mut self.by_key, key.as_str(), &row);
                }
            }
        }
    }

    /// The row with the highest `seq` of an id.
    pub(crate) fn latest(&self, tenant: &TenantId, id: SpanId) -> Option<&Arc<Sealed>> {
        self.of_id(tenant, id).max_by_key(|row| row.span.seq)
    }

    /// One version.
    pub(crate) fn version(
        &self,
        tenant: &TenantId,
        id: SpanId,
        seq: logline_span::Seq,
    ) -> Option<&Arc<Sealed>> {
        self.of_id(tenant, id).find(|row| row.span.seq == seq)
    }

    /// The row that first used a key.
    pub(crate) fn keyed(
        &self,
        tenant: &TenantId,
        owner: &Principal,
        key: &str,
    ) -> Option<&Arc<Sealed>> {
        let rows = self.by_key.get(key)?;
        rows.iter()
            .find(|row| row.span.tenant_id == *tenant && row.span.owner_id == *owner)
    }

    fn of_id(&self, tenant: &TenantId, id: SpanId) -> impl Iterator<Item = &Arc<Sealed>> {
        let rows = self.by_id.get(&id).map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter(move |row| row.span.tenant_id == *tenant)
    }
}

fn take<K, Q>(map: &mut HashMap<K, Vec<Arc<Sealed>>>, key: &Q, row: &Arc<Sealed>)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(rows) = map.get_mut(key) {
        rows.retain(|kept| !Arc::ptr_eq(kept, row));
        if rows.is_empty() {
            map.remove(key);
        }
    }
}
