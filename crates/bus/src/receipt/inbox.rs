//! Inboxes: which ones a publisher may name, and the one of this connection.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::Client;
use futures_util::StreamExt;
use logline_span::{Principal, TenantId};
use tokio::{
    sync::{OnceCell, oneshot},
    task::JoinSet,
};

use super::Receipt;
use crate::{Error, subject::token};

/// Longest reply address that is taken: the server's own are far below.
const REPLY_BYTES_MAX: usize = 1024;

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
    let own = identity.is_some_and(|(tenant, principal)| {
        let principal = token::encoded(principal.as_str());
        first == format!("_INBOX_{tenant}_{principal}")
    });
    first == "_R_" || own || (open_inboxes && first == "_INBOX")
}

/// The inbox of one connection: one subscription, taken apart by the last token.
pub(crate) struct Inbox {
    root: String,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Receipt>>>>,
    reader: OnceCell<JoinSet<()>>,
}

/// A place in the inbox; giving it up forgets it.
pub(crate) struct Place {
    number: u64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Receipt>>>>,
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
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(client: &Client) -> Self {
        Self {
            root: client.new_inbox(),
            next: AtomicU64::new(0),
            waiting: Arc::default(),
            reader: OnceCell::new(),
        }
    }

    /// Takes a place, subscribing at the first call.
    pub(crate) async fn place(&self, client: &Client) -> Result<Place, Error> {
        self.reader.get_or_try_init(|| self.read(client)).await?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receipt) = oneshot::channel();
        lock(&self.waiting).insert(number, sender);
        Ok(Place {
            number,
            waiting: Arc::clone(&self.waiting),
            address: format!("{}.{number}", self.root),
            receipt,
        })
    }

    async fn read(&self, client: &Client) -> Result<JoinSet<()>, Error> {
        let mut messages = client
            .subscribe(format!("{}.*", self.root))
            .await
            .map_err(|source| Error::client("subscribing to receipts")(source.into()))?;
        let waiting = Arc::clone(&self.waiting);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(message) = messages.next().await {
                let place = message
                    .subject
                    .rsplit('.')
                    .next()
                    .and_then(|it| it.parse().ok());
                let waiter = place.and_then(|place: u64| lock(&waiting).remove(&place));
                if let (Some(waiter), Ok(receipt)) = (waiter, Receipt::from_json(&message.payload))
                {
                    // Who stopped waiting does not want it.
                    let _ = waiter.send(receipt);
                }
            }
        });
        Ok(reader)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
