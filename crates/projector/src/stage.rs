//! The three stages, and what they share.
//!
//! A *leg* is one run of the three together: it ends when another projector takes over, when a batch must be
//! decided again, or when the process stops. What a leg leaves undone goes into the next.

pub(crate) mod commit;
pub(crate) mod prepare;
pub(crate) mod publish;

use std::sync::Arc;

use logline_bus::Bus;
use logline_ledger::{Disposition, Error, Wanted, Writer};
use logline_span::SpanId;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Monitor;
use crate::retry::Backoff;
use crate::step::{OnStep, Step};

/// What every stage of a leg has at hand.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) bus: Bus,
    pub(crate) writer: Writer,
    pub(crate) config: Arc<Config>,
    pub(crate) monitor: Monitor,
    pub(crate) on_step: Option<OnStep>,
    /// The process stops.
    pub(crate) stop: CancellationToken,
    /// The leg ends; a child of `stop`.
    pub(crate) over: CancellationToken,
}

impl Context {
    pub(crate) fn step(&self, step: Step) {
        if let Some(on_step) = &self.on_step {
            on_step(step);
        }
    }

    /// Asks the ledger until it answers; `None` once `until` is cancelled.
    ///
    /// For questions that name no message: what refuses them is nobody's message, and an operator mends it.
    pub(crate) async fn ask<T, F>(
        &self,
        until: &CancellationToken,
        mut question: impl FnMut() -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let error = match until.run_until_cancelled(question()).await? {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            self.unanswered(&error);
            backoff.pause(until).await?;
        }
    }

    /// Asks the ledger until it answers, or refuses the question for good while it answers others.
    pub(crate) async fn ask_about<T, F>(
        &self,
        until: &CancellationToken,
        mut question: impl FnMut() -> F,
    ) -> Option<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let error = match until.run_until_cancelled(question()).await? {
                Ok(answer) => return Some(Ok(answer)),
                Err(error) => error,
            };
            match error.disposition() {
                Disposition::Refuse if self.answers_others(until).await? => {
                    return Some(Err(error));
                }
                Disposition::Refuse | Disposition::Retry => {}
            }
            self.unanswered(&error);
            backoff.pause(until).await?;
        }
    }

    /// Whether the ledger looks up what nobody has sealed: then a refusal lies in what was asked, not in the ledger.
    async fn answers_others(&self, until: &CancellationToken) -> Option<bool> {
        let nobody = "logline".parse().ok().zip("logline".parse().ok());
        let Some((tenant, owner)) = nobody else {
            return Some(false);
        };
        let wanted = [Wanted {
            tenant,
            owner,
            id: SpanId::derived(0, "", &[]),
            key: None,
        }];
        let answer = until
            .run_until_cancelled(self.writer.existing(&wanted))
            .await?;
        Some(answer.is_ok())
    }

    fn unanswered(&self, error: &Error) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the ledger did not answer"
        );
        self.monitor.degraded("the ledger does not answer");
    }
}
