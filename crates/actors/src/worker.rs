//! The worker: runs what sealed requests ask for and reports each as one execution (EXE-7, EXE-12).
//!
//! First come, first served per function, different functions side by side; the consumer is exclusive, so that one
//! process at a time executes.

pub(crate) mod actor;
mod job;
mod lanes;
mod turns;

use std::collections::BTreeSet;
use std::time::Duration;

use logline_sandbox::{Failure, Language, Limits, Outcome, Run};
use logline_span::{Json, RoleName, Sealed};
use serde_json::{Value, json};

use crate::foreign;
use crate::written::{self, Blocked, Ran, Writer, Written};

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) enum Plan<'a> {
    /// A run, and the function that it is of.
    Run(Box<Run>, &'a Sealed),
    /// There is an answer without running anything.
    Answer(Box<Written>),
}

/// Why a request cannot be run: `error.code` of its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unrunnable {
    #[error("the request names no function: its parent_id is missing")]
    FunctionMissing,
    #[error("no function with the request's parent_id was sealed before the request")]
    FunctionNotFound,
    #[error("the ledger holds the function in a form that cannot be read")]
    FunctionUnreadable,
    #[error("the function is deleted")]
    FunctionDeleted,
    #[error("the function has no code")]
    CodeMissing,
    #[error("the function's language is not one of: javascript")]
    LanguageUnsupported,
    #[error("the request was handed out again and again without coming to an end")]
    Abandoned,
}

impl Unrunnable {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::FunctionMissing => "function_missing",
            Self::FunctionNotFound => "function_not_found",
            Self::FunctionUnreadable => "function_unreadable",
            Self::FunctionDeleted => "function_deleted",
            Self::CodeMissing => "code_missing",
            Self::LanguageUnsupported => "language_unsupported",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Whether a request is for this worker at all.
pub(crate) fn concerns(request: &Sealed) -> bool {
    request.span.this == "run_code" && !request.span.is_deleted
}

/// Decides a request; `function` is the version that held when the request was sealed, `roles` what its author was then.
pub(crate) fn plan<'a>(
    request: &Sealed,
    function: Option<&'a Sealed>,
    roles: &BTreeSet<RoleName>,
    limits: Limits,
) -> Plan<'a> {
    let answer = |written| Plan::Answer(Box::new(written));
    let function = match runnable(request, function) {
        Ok(function) => function,
        Err((unrunnable, function)) => return answer(unrun(request, function, unrunnable)),
    };
    if !may_invoke(request, function, roles) {
        return answer(written::violation(Blocked {
            writer: Writer::RunCode,
            cause: request,
            function,
            rule: "invokers",
            code: "not_an_invoker",
            detail: format!(
                "{} is neither the function's owner nor named in its metadata.invokers",
                request.span.owner_id
            ),
        }));
    }
    match run(request, function, limits) {
        Ok(run) => Plan::Run(Box::new(run), function),
        Err(unrunnable) => answer(unrun(request, Some(function), unrunnable)),
    }
}

type Refused<'a> = (Unrunnable, Option<&'a Sealed>);

fn runnable<'a>(request: &Sealed, function: Option<&'a Sealed>) -> Result<&'a Sealed, Refused<'a>> {
    if request.span.parent_id.is_none() {
        return Err((Unrunnable::FunctionMissing, None));
    }
    // Whatever else has the id is none of the requester's business, who may not even read it.
    function
        .filter(|function| function.span.entity_type.as_str() == "function")
        .ok_or((Unrunnable::FunctionNotFound, None))
}

/// Requests of others run only if the function names them or a role of theirs, within one tenant (the look-up keeps to it).
fn may_invoke(request: &Sealed, function: &Sealed, roles: &BTreeSet<RoleName>) -> bool {
    let invoker = &request.span.owner_id;
    let is_meant =
        |named: &str| named == invoker.as_str() || roles.iter().any(|role| role.as_str() == named);
    *invoker == function.span.owner_id
        || invokers(function).is_some_and(|named| {
            named
                .iter()
                .any(|named| named.as_str().is_some_and(is_meant))
        })
}

/// Whether the roles of the request's author decide whether it runs.
pub(crate) fn asks_for_roles(request: &Sealed, function: Option<&Sealed>) -> bool {
    function.is_some_and(|function| {
        invokers(function).is_some() && !may_invoke(request, function, &BTreeSet::new())
    })
}

fn invokers(function: &Sealed) -> Option<Vec<Value>> {
    let named = function.span.metadata.as_ref()?.get("/invokers")?;
    named.as_array().cloned()
}

fn run(request: &Sealed, function: &Sealed, limits: Limits) -> Result<Run, Unrunnable> {
    let span = &function.span;
    if span.is_deleted {
        return Err(Unrunnable::FunctionDeleted);
    }
    let code = span
        .code
        .as_deref()
        .filter(|code| !code.trim().is_empty())
        .ok_or(Unrunnable::CodeMissing)?;
    let language = match span.language.as_deref() {
        None | Some("javascript") => Language::JavaScript,
        Some(_) => return Err(Unrunnable::LanguageUnsupported),
    };
    Ok(Run {
        code: code.into(),
        language,
        input: input(request, function).unwrap_or_else(foreign::null),
        span: Json::parse(function.to_json().as_bytes()).unwrap_or_else(|_| foreign::null()),
        now: request.received_at,
        seed: *request.curr_hash.as_bytes(),
        user: span.owner_id.to_string(),
        tenant: span.tenant_id.to_string(),
        limits: Limits {
            wall: wall(function, limits.wall),
            ..limits
        },
    })
}

fn input(request: &Sealed, function: &Sealed) -> Option<Json> {
    request
        .span
        .input
        .clone()
        .or_else(|| function.span.input.clone())
}

/// A function may lower its time, never raise it.
fn wall(function: &Sealed, most: Duration) -> Duration {
    let lowered = function
        .span
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get("/timeout_ms"));
    let lowered = lowered
        .and_then(|value| value.as_u64())
        .filter(|timeout_ms| *timeout_ms > 0);
    lowered.map_or(most, |timeout_ms| {
        most.min(Duration::from_millis(timeout_ms))
    })
}

/// The execution of a request that ran.
pub(crate) fn execution(request: &Sealed, function: &Sealed, outcome: Outcome) -> Written {
    let ran = Ran {
        input: input(request, function),
        result: outcome.result.map_err(|failure| error(&failure)),
        duration_ms: milliseconds(outcome.wall),
        logs: outcome.logs,
    };
    written::execution(request, Some(function), ran)
}

/// The label on an execution that took longer than `slow`.
pub(crate) fn slow(
    request: &Sealed,
    execution: &logline_span::Span,
    slow: Duration,
) -> Option<Written> {
    let duration_ms = execution.duration_ms?;
    (Duration::from_millis(duration_ms.into()) > slow)
        .then(|| written::slow(request, execution, duration_ms))
}

/// The execution of a request that could not run.
pub(crate) fn unrun(
    request: &Sealed,
    function: Option<&Sealed>,
    unrunnable: Unrunnable,
) -> Written {
    let error = json!({ "code": unrunnable.code(), "message": unrunnable.to_string() });
    let ran = Ran {
        input: function
            .and_then(|function| input(request, function))
            .or_else(|| request.span.input.clone()),
        result: Err(foreign::json(&error)),
        duration_ms: 0,
        logs: Vec::new(),
    };
    written::execution(request, function, ran)
}

/// `{code, message, stack}`; message and stack are the code's own words.
fn error(failure: &Failure) -> Json {
    let message = foreign::json(&Value::String(failure.message.clone())).to_value();
    let mut error = json!({ "code": failure.code.as_str(), "message": message });
    if let (Some(stack), Some(fields)) = (&failure.stack, error.as_object_mut()) {
        fields.insert(
            "stack".to_owned(),
            foreign::json(&Value::String(stack.clone())).to_value(),
        );
    }
    foreign::json(&error)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .min(i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests;
