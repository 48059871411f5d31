//! The three stages, and what they share.
//!
//! A *leg* is one run of the three together: it ends when another projector takes over, when a batch must be
//! decided again, or when the process stops. What a leg leaves undone goes into the next.

pub(crate) mod commit;
pub(crate) mod prepare;
pub(crate) mod publish;

use std::sync::Arc;

use logline_bus::Bus;
use logline_ledger::Writer;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Monitor;
use crate::retry::Backoff;

/// What every stage of a leg has at hand.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) bus: Bus,
    pub(crate) writer: Writer,
    pub(crate) config: Arc<Config>,
    pub(crate) monitor: Monitor,
    /// The process stops.
    pub(crate) stop: CancellationToken,
    /// The leg ends; a child of `stop`.
    pub(crate) over: CancellationToken,
}

impl Context {
    /// Asks the ledger until it answers; `None` once `until` is cancelled.
    pub(crate) async fn ask<T, F>(
        &self,
        until: &CancellationToken,
        mut question: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, logline_ledger::Error>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let error = match until.run_until_cancelled(question()).await? {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the ledger did not answer"
            );
            self.monitor.degraded("the ledger does not answer");
            backoff.pause(until).await?;
        }
    }
}
