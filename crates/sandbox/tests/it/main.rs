//! The sandbox from outside: code in, JSON or a failure out.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where it stands"
)]

mod endings;
mod isolation;
mod limits;
mod property;
mod surface;

use std::{path::Path, sync::LazyLock, time::Duration};

use logline_sandbox::{Config, FailureCode, Language, Limits, Outcome, Run, Sandbox};
use logline_span::{Json, Timestamp};

/// One for all tests, with a cache that outlives them: compiling the engine takes seconds.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    Sandbox::new(Config {
        cache_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine"),
        instances: 4,
        queue: 16,
        memory_bytes_max: 64 << 20,
    })
    .unwrap()
});

const NOW_US: i64 = 1_700_000_000_123_456;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn run(code: &str) -> Run {
    Run {
        code: code.into(),
        language: Language::JavaScript,
        input: json(r#"{"a":1,"list":[1,2,3]}"#),
        span: json(r#"{"entity_type":"function","id":"00000000-0000-4000-8000-000000000001"}"#),
        now: Timestamp::from_micros(NOW_US),
        seed: [7; 32],
        user: "ana".to_owned(),
        tenant: "acme".to_owned(),
        limits: Limits {
            wall: Duration::from_secs(60),
            ..Limits::STANDARD
        },
    }
}

async fn outcome(code: &str) -> Outcome {
    SANDBOX.run(run(code)).await
}

/// What `main` returned.
async fn value(code: &str) -> String {
    value_in(&SANDBOX, code).await
}

async fn value_in(sandbox: &Sandbox, code: &str) -> String {
    match sandbox.run(run(code)).await.result {
        Ok(json) => json.as_str().to_owned(),
        Err(failure) => panic!("{}: {}", failure.code, failure.message),
    }
}

/// What `main` returned, of an expression over `ctx`.
async fn eval(expression: &str) -> String {
    value(&main(expression)).await
}

/// A function that returns an expression over `ctx`.
fn main(expression: &str) -> String {
    format!("export async function main(ctx) {{ return ({expression}); }}")
}

async fn failure(code: &str) -> (FailureCode, String) {
    failed(outcome(code).await)
}

fn failed(outcome: Outcome) -> (FailureCode, String) {
    match outcome.result {
        Ok(json) => panic!("a result: {}", json.as_str()),
        Err(failure) => (failure.code, failure.message),
    }
}
