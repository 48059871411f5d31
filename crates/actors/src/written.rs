//! The spans that the observer and the worker write, exactly as in the table "What the system writes" of
//! `04-execution.md`.
//!
//! Everything here follows from the cause, so a repeat says the same: `at` is the instant of which the span speaks
//! (the due time; for an execution the one that `ctx.now()` showed), never this machine's clock.

use std::str::FromStr;

use logline_span::{
    Json, Principal, Refusal, Sealed, Seq, Span, SpanId, TenantId, Timestamp, TraceId, Visibility,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Role, foreign};

/// A span as decided: [`crate::author::Author`] gives it its id and signature.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// Under whose address it is published.
    pub(crate) principal: Principal,
    /// INVARIANT (keyed): `idempotency_key` is set; the id is derived from it.
    pub(crate) span: Span,
}

/// The parts of this crate that write, by the names under which they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Observer,
    RunCode,
    /// The role around `run_code`; it reports what befell the role itself.
    Worker,
}

impl Writer {
    fn name(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::RunCode => "run_code",
            Self::Worker => "worker",
        }
    }

    fn principal(self) -> Principal {
        literal(match self {
            Self::Observer => "edge:observer",
            Self::RunCode => "edge:run_code",
            Self::Worker => "edge:worker",
        })
    }
}

/// Whose a span of the system is, and who may see it (EXE-12).
#[derive(Debug, Clone)]
pub(crate) struct Belonging {
    pub(crate) tenant: TenantId,
    pub(crate) owner: Principal,
    pub(crate) visibility: Visibility,
}

impl Belonging {
    /// As the source itself.
    pub(crate) fn of(source: &Sealed) -> Self {
        Self {
            tenant: source.span.tenant_id.clone(),
            owner: source.span.owner_id.clone(),
            visibility: source.span.visibility,
        }
    }

    /// The function's, no more visible than the request; the request's where there is no function.
    pub(crate) fn of_run(request: &Sealed, function: Option<&Sealed>) -> Self {
        let mut belonging = Self::of(function.unwrap_or(request));
        belonging.visibility = belonging.visibility.min(request.span.visibility);
        belonging
    }
}

/// The observer's `request` for a function that is due.
pub(crate) fn request(function: &Sealed, due: Timestamp) -> Written {
    let key = format!("observer:{}:{}:{due}", function.span.id, function.span.seq);
    let mut written = caused(
        Writer::Observer,
        "request",
        function,
        Belonging::of(function),
        key,
    );
    let span = &mut written.span;
    span.did = Some("scheduled".to_owned());
    span.this = "run_code".to_owned();
    span.at = due;
    span.parent_id = Some(function.span.id);
    span.related_to = vec![function.span.id];
    span.status = Some(literal("scheduled"));
    written
}

/// What an `execution` reports.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) input: Option<Json>,
    /// The output, or the `error` of the execution.
    pub(crate) result: Result<Json, Json>,
    pub(crate) duration_ms: u32,
    pub(crate) logs: Vec<String>,
}

/// The worker's `execution` of a request.
pub(crate) fn execution(request: &Sealed, function: Option<&Sealed>, ran: Ran) -> Written {
    let belonging = Belonging::of_run(request, function);
    let mut written = caused(
        Writer::RunCode,
        "execution",
        request,
        belonging,
        verdict_key(request),
    );
    let span = &mut written.span;
    span.did = Some("executed".to_owned());
    span.this = "run_code".to_owned();
    span.parent_id = request.span.parent_id;
    span.related_to = request.span.parent_id.into_iter().collect();
    span.name = function
        .and_then(|function| function.span.name.as_deref())
        .map(foreign::title);
    span.input = ran.input.and_then(foreign::content);
    span.duration_ms = Some(ran.duration_ms);
    match ran.result {
        Ok(output) => {
            span.status = Some(literal("complete"));
            span.output = foreign::content(output);
        }
        Err(error) => {
            span.status = Some(literal("error"));
            span.error = Some(error);
        }
    }
    if !ran.logs.is_empty() {
        let logs = Value::Array(ran.logs.into_iter().map(Value::String).collect());
        span.metadata = Some(foreign::json(&json!({ "logs": foreign::each(logs) })));
    }
    written
}

/// What stands for a span that breaks the rules: that it happened, without what others made of it.
pub(crate) fn stand_in(refused: Written, refusal: &Refusal) -> Written {
    let Written {
        principal,
        mut span,
    } = refused;
    let Refusal { code, pointer, .. } = refusal;
    let message = format!("the span was refused: {code} at {pointer:?}");
    span.idempotency_key = span.idempotency_key.map(|key| format!("{key}:refused"));
    span.name = None;
    span.input = None;
    span.output = None;
    span.metadata = None;
    span.error = Some(foreign::json(
        &json!({ "code": "refused", "refusal": code, "message": message }),
    ));
    span.status = Some(literal("error"));
    Written { principal, span }
}

/// The label on an execution that took long.
pub(crate) fn slow(request: &Sealed, execution: &Span, duration_ms: u32) -> Written {
    let belonging = Belonging {
        tenant: execution.tenant_id.clone(),
        owner: execution.owner_id.clone(),
        visibility: execution.visibility,
    };
    let key = format!("{}:slow", verdict_key(request));
    let mut written = caused(Writer::RunCode, "status_patch", request, belonging, key);
    let span = &mut written.span;
    span.did = Some("labeled".to_owned());
    span.this = "status=slow".to_owned();
    span.parent_id = Some(execution.id);
    span.metadata = Some(foreign::json(
        &json!({ "status": "slow", "duration_ms": duration_ms }),
    ));
    written
}

/// A visible refusal: what was `blocked`, by which rule, in words for the function's owner.
pub(crate) struct Blocked<'a> {
    pub(crate) writer: Writer,
    pub(crate) cause: &'a Sealed,
    pub(crate) function: &'a Sealed,
    /// The rule that blocked it.
    pub(crate) rule: &'static str,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

/// The `policy_violation` that says so.
pub(crate) fn violation(blocked: Blocked<'_>) -> Written {
    let Blocked {
        writer,
        cause,
        function,
        rule,
        code,
        detail,
    } = blocked;
    let belonging = Belonging::of_run(cause, Some(function));
    let key = match writer {
        Writer::Observer => format!("observer:{}:{}:{rule}", cause.span.id, cause.span.seq),
        Writer::RunCode | Writer::Worker => verdict_key(cause),
    };
    let mut written = caused(writer, "policy_violation", cause, belonging, key);
    let span = &mut written.span;
    span.did = Some("blocked".to_owned());
    span.this = rule.to_owned();
    span.related_to = vec![function.span.id];
    span.status = Some(literal("error"));
    span.metadata = Some(foreign::json(&json!({ "code": code, "detail": detail })));
    written
}

/// Stops a chain of causes that grew too long (EXE-8).
pub(crate) fn too_deep(writer: Writer, cause: &Sealed, depth_max: u16) -> Written {
    let key = format!(
        "{}:{}:{}:depth",
        writer.name(),
        cause.span.id,
        cause.span.seq
    );
    let mut written = caused(writer, "incident", cause, Belonging::of(cause), key);
    let span = &mut written.span;
    span.did = Some("detected".to_owned());
    span.this = "causation_depth".to_owned();
    let detail =
        format!("the chain of causes is longer than {depth_max}: nothing follows from this span");
    span.metadata = Some(foreign::json(
        &json!({ "code": "depth_exceeded", "detail": detail }),
    ));
    written
}

/// A schedule that ended because its function cannot be read.
pub(crate) fn unreadable(tenant: &TenantId, function: SpanId, seq: Seq, due: Timestamp) -> Written {
    let writer = Writer::Observer;
    let belonging = Belonging {
        tenant: tenant.clone(),
        owner: writer.principal(),
        // It names a function that may be private.
        visibility: Visibility::Private,
    };
    let key = format!("{}:{function}:{seq}:{due}:unreadable", writer.name());
    let mut written = bare(writer, "incident", belonging, due, key);
    let span = &mut written.span;
    span.trace_id = TraceId::of(function);
    span.did = Some("detected".to_owned());
    span.this = "schedule".to_owned();
    span.related_to = vec![function];
    let detail =
        "the ledger holds the function in a form that cannot be read: its schedule has ended";
    span.metadata = Some(foreign::json(
        &json!({ "code": "function_unreadable", "detail": detail }),
    ));
    written
}

/// A role that kept crashing has stopped (EXE-5). `occasion`, a UUIDv7, tells this stop from every other.
pub(crate) fn role_stopped(writer: Writer, role: Role, occasion: Uuid, detail: &str) -> Written {
    let belonging = Belonging {
        tenant: literal("system"),
        owner: writer.principal(),
        visibility: Visibility::Tenant,
    };
    let key = format!("{}:stopped:{occasion}", writer.name());
    let mut written = bare(writer, "incident", belonging, made_at(occasion), key);
    let span = &mut written.span;
    span.trace_id = TraceId::of(SpanId::from_uuid(occasion));
    span.did = Some("detected".to_owned());
    span.this = format!("role.{role}");
    span.metadata = Some(foreign::json(
        &json!({ "code": "role_stopped", "detail": detail }),
    ));
    written
}

/// When a UUIDv7 was made.
fn made_at(occasion: Uuid) -> Timestamp {
    let (seconds, nanos) = occasion
        .get_timestamp()
        .map_or((0, 0), |time| time.to_unix());
    let micros = i64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(i64::from(nanos) / 1000))
}

/// One verdict per request: an execution and a violation would exclude each other by their key.
fn verdict_key(request: &Sealed) -> String {
    format!("run_code:{}:{}", request.span.id, request.span.seq)
}

fn caused(
    writer: Writer,
    entity_type: &'static str,
    cause: &Sealed,
    belonging: Belonging,
    key: String,
) -> Written {
    let mut written = bare(writer, entity_type, belonging, cause.received_at, key);
    written.span.caused_by = Some(cause.span.id);
    written.span.trace_id = cause.span.trace_id;
    written
}

/// A span with who it is from, whose it is and its key; the rest is for the caller to say.
fn bare(
    writer: Writer,
    entity_type: &'static str,
    belonging: Belonging,
    at: Timestamp,
    key: String,
) -> Written {
    let principal = writer.principal();
    let unnamed = SpanId::from_uuid(Uuid::nil());
    let span = Span {
        id: unnamed,
        seq: Seq::ZERO,
        entity_type: literal(entity_type),
        who: principal.to_string(),
        did: None,
        this: String::new(),
        at,
        parent_id: None,
        related_to: Vec::new(),
        caused_by: None,
        trace_id: TraceId::of(unnamed),
        owner_id: belonging.owner,
        tenant_id: belonging.tenant,
        visibility: belonging.visibility,
        status: None,
        is_deleted: false,
        name: None,
        description: None,
        code: None,
        language: None,
        runtime: None,
        input: None,
        output: None,
        error: None,
        content: None,
        metadata: None,
        duration_ms: None,
        idempotency_key: Some(format!("edge:{key}")),
        signature: None,
        public_key: None,
        at_given: true,
        trace_given: true,
    };
    Written { principal, span }
}

/// A constant of this file as the type that it spells; every one is covered by a test.
#[expect(clippy::expect_used, reason = "literals of this file alone")]
fn literal<T: FromStr>(text: &'static str) -> T {
    text.parse().ok().expect("a literal spells its type")
}
