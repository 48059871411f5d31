//! Inboxes: which ones a publisher may name, and those of this connection.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use logline_span::{Principal, TenantId};
use tokio::{sync::oneshot, task::JoinSet};

use super::Receipt;
use crate::{Error, subject::token};

/// Longest reply address that is taken: the server's own are far below.
const REPLY_BYTES_MAX: usize = 1024;

/// Identities whose inboxes stay subscribed; the one that came first is given up for a new one.
const IDENTITIES_MAX: usize = 1024;

/// The inbox of an identity: `receipt.<tenant>.<principal>`, to which clients add what they like (ADR 12).
fn own(tenant: &TenantId, principal: &Principal) -> String {
    format!("receipt.{tenant}.{}", token::encoded(principal.as_str()))
}

/// Whether a receipt for this identity's message may go to the address (BUS-2): the server's own reply across
/// accounts, the identity's own inbox, or in development any inbox.
pub(crate) fn allowed(
    reply: &str,
    identity: Option<(&TenantId, &Principal)>,
    open_inboxes: bool,
) -> bool {
    let Some((first, rest)) = reply.split_once('.') else {
        return false;
    };
    let strange =
        |letter: char| matches!(letter, '*' | '>') || letter.is_whitespace() || letter.is_control();
    if reply.len() > REPLY_BYTES_MAX
        || rest.split('.').any(str::is_empty)
        || reply.contains(strange)
    {
        return false;
    }
    let is_own = identity.is_some_and(|(tenant, principal)| {
        let below = reply.strip_prefix(&own(tenant, principal));
        below.is_some_and(|below| below.starts_with('.'))
    });
    first == "_R_" || is_own || (open_inboxes && first == "_INBOX")
}

/// The inboxes of one connection, one for each identity that it publishes for; receipts are taken apart by their last token.
pub(crate) struct Inbox {
    /// The token that keeps this connection's receipts from those of others.
    name: String,
    next: AtomicU64,
    waiting: Waiting,
    subscribed: tokio::sync::Mutex<Subscribed>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Receipt>>>>;

/// The inboxes that are subscribed to, the oldest first.
#[derive(Default)]
struct Subscribed {
    order: VecDeque<String>,
    readers: HashMap<String, JoinSet<()>>,
}

/// A place in the inbox; giving it up forgets it.
pub(crate) struct Place {
    number: u64,
    waiting: Waiting,
    /// The address that brings a receipt here.
    pub(crate) address: String,
    /// The receipt, once it came.
    pub(crate) receipt: oneshot::Receiver<Receipt>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.number);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(client: &Client) -> Self {
        let address = client.new_inbox();
        Self {
            name: address.rsplit('.').next().unwrap_or_default().to_owned(),
            next: AtomicU64::new(0),
            waiting: Arc::default(),
            subscribed: tokio::sync::Mutex::default(),
        }
    }

    /// Takes a place in the inbox of an identity, subscribing at its first call.
    pub(crate) async fn place(
        &self,
        client: &Client,
        tenant: &TenantId,
        principal: &Principal,
    ) -> Result<Place, Error> {
        let root = format!("{}.{}", own(tenant, principal), self.name);
        self.subscribe(client, &root).await?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receipt) = oneshot::channel();
        lock(&self.waiting).insert(number, sender);
        Ok(Place {
            number,
            waiting: Arc::clone(&self.waiting),
            address: format!("{root}.{number}"),
            receipt,
        })
    }

    async fn subscribe(&self, client: &Client, root: &str) -> Result<(), Error> {
        let mut subscribed = self.subscribed.lock().await;
        if subscribed.readers.contains_key(root) {
            return Ok(());
        }
        let messages = client
            .subscribe(format!("{root}.*"))
            .await
            .map_err(|source| Error::client("subscribing to receipts")(source.into()))?;
        if subscribed.order.len() >= IDENTITIES_MAX
            && let Some(oldest) = subscribed.order.pop_front()
        {
            subscribed.readers.remove(&oldest);
        }
        let mut reader = JoinSet::new();
        reader.spawn(read(messages, Arc::clone(&self.waiting)));
        subscribed.order.push_back(root.to_owned());
        subscribed.readers.insert(root.to_owned(), reader);
        Ok(())
    }
}

/// Hands receipts to those who wait for them.
async fn read(mut messages: Subscriber, waiting: Waiting) {
    while let Some(message) = messages.next().await {
        let place = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|it| it.parse().ok());
        let waiter = place.and_then(|place: u64| lock(&waiting).remove(&place));
        if let (Some(waiter), Ok(receipt)) = (waiter, Receipt::from_json(&message.payload)) {
            // Who stopped waiting does not want it.
            let _ = waiter.send(receipt);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
