//! One request, from its delivery to its acknowledgement.
//!
//! Where bus or ledger are away the job waits for them in its place, so that the order within a function holds; what
//! is held stays held, and a process that ends meanwhile leaves it to the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use logline_bus::{Delivery, trace};
use logline_ledger::Disposition;
use logline_sandbox::{FailureCode, Limits, Outcome, Run};
use logline_span::{RoleName, Sealed, SpanId, TenantId};
use tracing::Instrument;

use super::turns::Turn;
use super::{Plan, Unrunnable};
use crate::outbox::{Context, Sent};
use crate::supervisor::Charge;
use crate::written::{self, Writer, Written};
use crate::{DEPTH_MAX, Role, Step, metric};

pub(crate) struct Job {
    pub(crate) charge: Charge,
    pub(crate) turn: Turn,
    pub(crate) delivery: Arc<Delivery>,
}

/// What a job waits for.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    #[error("the sandbox is not available")]
    Sandbox,
    #[error("no receipt has come")]
    Receipt,
    #[error("the bus did not take it")]
    Bus(#[from] logline_bus::Error),
}

impl Job {
    pub(crate) async fn serve(self) {
        let request = &self.delivery.sealed;
        let span = tracing::info_span!(
            "process timeline.{tenant}.{visibility}.{owner}.{status}.{entity_type}",
            role = "worker",
            id = %request.span.id,
            seq = %request.span.seq,
        );
        trace::extract(&*self.delivery, &span);
        async {
            if super::concerns(request) {
                self.answer(request).await;
                self.charge.shared.step(Role::Worker, Step::Published);
            }
            self.charge.life.release(&self.delivery);
            if let Err(error) = self.delivery.ack().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the bus was not told and delivers again"
                );
            }
            metrics::counter!(metric::HANDLED, "role" => "worker", "outcome" => "done")
                .increment(1);
        }
        .instrument(span)
        .await;
    }

    /// When this returns, the bus has everything that the request causes (EXE-7).
    async fn answer(&self, request: &Sealed) {
        if self.delivery.depth >= DEPTH_MAX {
            return self
                .publish(written::too_deep(Writer::Worker, request, DEPTH_MAX))
                .await;
        }
        let function = match self.function(request).await {
            Ok(function) => function,
            Err(unrunnable) => return self.publish(super::unrun(request, None, unrunnable)).await,
        };
        let roles = if super::asks_for_roles(request, function.as_ref()) {
            self.roles(request).await
        } else {
            BTreeSet::new()
        };
        match super::plan(request, function.as_ref(), &roles, self.limits()) {
            Plan::Answer(written) => self.publish(*written).await,
            // What would not run cannot have taken a worker down.
            Plan::Run(_, function) if self.turn.is_abandoned => {
                let abandoned = super::unrun(request, Some(function), Unrunnable::Abandoned);
                self.publish(abandoned).await;
            }
            Plan::Run(run, function) => {
                let _place = self.turn.come().await;
                let outcome = self.run(*run).await;
                self.report(request, super::execution(request, function, outcome))
                    .await;
            }
        }
    }

    /// The function's version that held when the request was sealed.
    async fn function(&self, request: &Sealed) -> Result<Option<Sealed>, Unrunnable> {
        let Some(id) = request.span.parent_id else {
            return Ok(None);
        };
        let tenant = &request.span.tenant_id;
        let ledger = &self.charge.shared.resources.ledger;
        self.insist("look the function up", || async {
            match ledger.as_of(tenant, id, request.position).await {
                Ok(function) => Ok(Ok(function)),
                Err(error) => match error.disposition() {
                    Disposition::Retry => Err(error),
                    Disposition::Refuse => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the function cannot be read");
                        Ok(Err(Unrunnable::FunctionUnreadable))
                    }
                },
            }
        })
        .await
    }

    /// What the request's author was when it was sealed (GOV-6).
    async fn roles(&self, request: &Sealed) -> BTreeSet<RoleName> {
        let (tenant, author) = (&request.span.tenant_id, &request.span.owner_id);
        let ledger = &self.charge.shared.resources.ledger;
        self.insist("look the author's roles up", || {
            ledger.roles(tenant, author, request.position)
        })
        .await
    }

    async fn run(&self, run: Run) -> Outcome {
        let sandbox = &self.charge.shared.resources.sandbox;
        self.insist("run the function", || async {
            let outcome = sandbox
                .run(run.clone())
                .instrument(tracing::info_span!("sandbox run"))
                .await;
            match &outcome.result {
                Err(failure) if failure.code == FailureCode::Unavailable => Err(NotNow::Sandbox),
                Ok(_) | Err(_) => Ok(outcome),
            }
        })
        .await
    }

    /// The execution, and the label behind it where it was slow: under the id with which the execution is sealed.
    async fn report(&self, request: &Sealed, execution: Written) {
        let shared = &self.charge.shared;
        let principal = execution.principal.clone();
        let mut signed = shared.outbox.sign(execution);
        let status = signed
            .span
            .status
            .as_ref()
            .map_or("", |status| status.as_str())
            .to_owned();
        metrics::counter!(metric::EXECUTIONS, "status" => status).increment(1);
        metrics::histogram!(metric::EXECUTION_DURATION)
            .record(f64::from(signed.span.duration_ms.unwrap_or(0)));
        let slow = Duration::from_millis(shared.config.slow_ms);
        let context = self.context();
        // An earlier attempt may have been sealed, and a label speaks of what is sealed.
        let is_first = self.delivery.deliveries <= 1;
        if is_first && super::slow(request, &signed.span, slow).is_none() {
            return self
                .insist("publish the execution", || {
                    shared.outbox.publish(&signed, &context)
                })
                .await;
        }
        let sealed = self.insist("seal the execution", || async {
            shared
                .outbox
                .publish_sealed(&signed, &context)
                .await?
                .ok_or(NotNow::Receipt)
        });
        match sealed.await {
            Sent::Sealed(id) => {
                signed.span.id = id;
                if !is_first && let Some(sealed) = self.sealed(&signed.span.tenant_id, id).await {
                    signed.span.duration_ms = sealed.span.duration_ms;
                }
                if let Some(label) = super::slow(request, &signed.span, slow) {
                    self.publish(label).await;
                }
            }
            // A label needs the span that it is put on.
            Sent::Refused(refusal) => {
                let refused = Written {
                    principal,
                    span: signed.span,
                };
                let stand_in = shared.outbox.sign_stand_in(refused, &refusal);
                self.insist("publish what stands for the execution", || {
                    shared.outbox.publish(&stand_in, &context)
                })
                .await;
            }
        }
    }

    /// A span that is sealed; nothing where it cannot be read.
    async fn sealed(&self, tenant: &TenantId, id: SpanId) -> Option<Sealed> {
        let ledger = &self.charge.shared.resources.ledger;
        self.insist("look the execution up", || async {
            match ledger.latest(tenant, id).await {
                Ok(found) => Ok(found),
                Err(error) => match error.disposition() {
                    Disposition::Retry => Err(error),
                    Disposition::Refuse => Ok(None),
                },
            }
        })
        .await
    }

    async fn publish(&self, written: Written) {
        let outbox = &self.charge.shared.outbox;
        let signed = outbox.sign(written);
        let context = self.context();
        self.insist("publish", || outbox.publish(&signed, &context))
            .await;
    }

    fn context(&self) -> Context {
        Context::of_cause(self.delivery.depth, self.delivery.traceparent.clone())
    }

    fn limits(&self) -> Limits {
        let config = &self.charge.shared.config;
        Limits {
            wall: Duration::from_millis(config.timeout_ms),
            memory_bytes: config.memory_bytes_max,
            ..Limits::STANDARD
        }
    }

    /// Tries until it works; only what is away makes it fail.
    async fn insist<T, E, F>(&self, what: &'static str, mut attempt: impl FnMut() -> F) -> T
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let mut failures = 0;
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => {
                    failures += 1;
                    metrics::counter!(metric::WAITS, "role" => "worker").increment(1);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        failures,
                        what,
                        "waits and tries again"
                    );
                    self.charge.shared.config.backoff.wait(failures).await;
                }
            }
        }
    }
}
