//! The worked example: a span by the stock NATS client, a scheduled function by HTTP, shown as they are sealed.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use logline_bus::Subject;
use serde_json::{Value, json};

use crate::{
    client::{Client, problem_text},
    output,
    stack::Addresses,
};

const CODE: &str = "export async function main(ctx) {
  ctx.log(`greeting ${ctx.input.name}`);
  return { greeting: `hello ${ctx.input.name}` };
}
";

/// The spans that the example leads to: activity, function, request, execution.
const SPANS: usize = 4;

/// How long the example waits for its execution: far beyond compiling the engine, which happens once on a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes the example and says what is sealed after `after` until the execution is.
pub(super) fn show(addresses: &Addresses, after: u64, say: fn(&str) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    let client = Client::to(&addresses.api, Some(addresses.token.clone()));
    say("1. A span, published with the stock NATS client:\n")?;
    let activity = publish_by_nats(addresses, say)?;
    say("\n2. A scheduled JavaScript function, published by HTTP:\n")?;
    let function = publish_by_http(addresses, &client, say)?;
    say("\n3. What was sealed, read from the live timeline:\n")?;
    say(&output::heading())?;
    let mut seen = 0;
    let mut executed = Value::Null;
    client.events(
        "/api/timeline/stream",
        &[],
        Some(&after.to_string()),
        |event, _, data| {
            let span: Value = serde_json::from_str(data).unwrap_or(Value::Null);
            let is_ours =
                event == "span" && (belongs(&span, &activity) || belongs(&span, &function));
            if is_ours {
                seen += 1;
                say(&output::span_row(&span))?;
                if span.get("entity_type").and_then(Value::as_str) == Some("execution") {
                    executed = span;
                }
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "the function was not executed within {} s: `logline doctor` says which part is not well",
                    PATIENCE.as_secs()
                );
            }
            Ok(seen < SPANS && executed.is_null())
        },
    )?;
    let output = executed.get("output").context(
        "the timeline ended before the execution was sealed: `logline doctor` says which part is not well",
    )?;
    say(&format!("\nThe execution's output: {output}"))
}

/// Whether a span is the one with this id or belongs to it.
fn belongs(span: &Value, id: &str) -> bool {
    ["id", "parent_id"]
        .iter()
        .any(|field| span.get(field).and_then(Value::as_str) == Some(id))
}

fn publish_by_nats(addresses: &Addresses, say: fn(&str) -> Result<()>) -> Result<String> {
    let nats = logline_stack::stock_client("nats").with_context(|| {
        format!(
            "the `nats` client was not found: run `{}`",
            logline_stack::SETUP_COMMAND
        )
    })?;
    let subject = Subject::Publish {
        tenant: addresses.tenant.parse()?,
        principal: addresses.principal.parse()?,
        entity_type: "activity".parse()?,
    }
    .to_string();
    let body = r#"{"who":"me","did":"opened","this":"door"}"#;
    say(&format!(
        "   nats --server {} request {subject} '{body}'",
        addresses.nats
    ))?;
    let mut command = Command::new(&nats);
    // Credentials of the user's own contexts belong to other servers.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NATS_") {
            command.env_remove(name);
        }
    }
    let answer = command
        .args([
            "--no-context",
            "--server",
            &addresses.nats,
            "request",
            "--raw",
            &subject,
            body,
        ])
        .output()
        .with_context(|| format!("cannot run `{}`", nats.display()))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    say(&format!("   {}", text.trim()))?;
    id_of(&serde_json::from_str(text.trim()).with_context(|| {
        format!(
            "`nats` got no receipt: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        )
    })?)
}

fn publish_by_http(
    addresses: &Addresses,
    client: &Client,
    say: fn(&str) -> Result<()>,
) -> Result<String> {
    let function = json!({
        "entity_type": "function", "who": "me", "did": "scheduled", "this": "greet", "name": "greet", "status": "scheduled",
        "language": "javascript", "code": CODE, "input": {"name": "world"},
    });
    say(&format!(
        "   curl -H 'Authorization: Bearer …' -d @greet.json {}/api/spans",
        addresses.api
    ))?;
    let (status, text) = client.post(
        "/api/spans",
        &[],
        "application/json",
        function.to_string().as_bytes(),
    )?;
    let answer: Value = serde_json::from_str(&text).context("the API answered without JSON")?;
    if status != 200 {
        bail!("{}", problem_text(status, &answer));
    }
    say(&format!("   {text}"))?;
    id_of(&answer)
}

fn id_of(answer: &Value) -> Result<String> {
    match answer.get("id").and_then(Value::as_str) {
        Some(id) => Ok(id.to_owned()),
        None => bail!("the span was refused: {answer}"),
    }
}
