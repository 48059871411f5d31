//! Acknowledging: one word says that everything up to a number is sealed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::subject::Subject as Address;
use bytes::Bytes;

use crate::{Bus, Error, error::sending};

/// Deliveries that wait to be acknowledged.
#[derive(Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where each delivery is acknowledged.
    addresses: BTreeMap<u64, Address>,
    /// Everything up to here was acknowledged.
    through: u64,
}

impl Pending {
    /// Takes a delivery in; says whether its number was acknowledged before.
    pub(super) fn note(&self, seq: u64, address: Address) -> bool {
        let mut state = self.lock();
        state.addresses.insert(seq, address);
        seq <= state.through
    }

    /// Forgets every delivery: numbers may have been given anew.
    pub(super) fn forget(&self) {
        *self.lock() = State::default();
    }

    fn take(&self, seq: u64) -> Option<Address> {
        let mut state = self.lock();
        state.through = state.through.max(seq);
        let later = state.addresses.split_off(&(seq + 1));
        let sealed = std::mem::replace(&mut state.addresses, later);
        sealed.into_values().next_back()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Acknowledges what the intake handed out; clones share it.
#[derive(Clone)]
pub struct Acker {
    bus: Bus,
    pending: Arc<Pending>,
}

impl Acker {
    pub(super) fn new(bus: &Bus, pending: &Arc<Pending>) -> Self {
        Self {
            bus: bus.clone(),
            pending: Arc::clone(pending),
        }
    }

    /// Acknowledges every message up to a number, which must all be sealed. It is said, not confirmed: where it is
    /// lost, the messages are delivered again, handed out flagged `again`, and acknowledged with what follows.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack_through(&self, seq: u64) -> Result<(), Error> {
        match self.pending.take(seq) {
            Some(address) => say(&self.bus, address).await,
            None => Ok(()),
        }
    }
}

async fn say(bus: &Bus, address: Address) -> Result<(), Error> {
    bus.inner
        .client
        .publish(address, Bytes::from_static(b"+ACK"))
        .await
        .map_err(sending("acknowledging"))
}
