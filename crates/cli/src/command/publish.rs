//! `logline publish`: spans from flags, a file or standard input, through the API.

use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::{
    Exit,
    args::{Global, Output},
    client::{Client, problem_text},
    output,
};

/// Flags of `logline publish`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  logline publish --entity-type activity --who alice --this door --did opened
  logline publish --entity-type function --who alice --this greet --set status=scheduled --set-file code=greet.js
  echo '{\"entity_type\":\"activity\",\"who\":\"alice\",\"this\":\"door\"}' | logline publish -")]
pub(crate) struct Publish {
    /// A file of spans, one JSON object a line; `-` is standard input.
    #[arg(value_name = "FILE", conflicts_with_all = ["entity_type", "who", "this", "did", "set", "set_file"])]
    file: Option<String>,
    /// What kind of fact it is, such as `activity`.
    #[arg(long, value_name = "TYPE", required_unless_present = "file")]
    entity_type: Option<String>,
    /// Who acted.
    #[arg(long, required_unless_present = "file")]
    who: Option<String>,
    /// The object of the act.
    #[arg(long, required_unless_present = "file")]
    this: Option<String>,
    /// The verb.
    #[arg(long)]
    did: Option<String>,
    /// Another field; a value that is not JSON is taken as text.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// A field whose text is a file's, such as `code=main.js`.
    #[arg(long, value_name = "FIELD=FILE")]
    set_file: Vec<String>,
    /// The promise to wait for.
    #[arg(long, value_enum, default_value_t = Wait::Sealed)]
    wait: Wait,
}

/// Levels of promise (BUS-5).
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Wait {
    /// The bus has it.
    Received,
    /// It is committed in Postgres.
    Sealed,
}

pub(crate) fn run(global: &Global, command: &Publish) -> Result<Exit> {
    let body = body(command)?;
    let wait = match command.wait {
        Wait::Received => "received",
        Wait::Sealed => "sealed",
    };
    let query = [("wait", wait.to_owned())];
    let (status, text) = Client::new(global)?.post(
        "/api/spans",
        &query,
        "application/x-ndjson",
        body.as_bytes(),
    )?;
    if status != 200 {
        let problem = serde_json::from_str(&text).unwrap_or(Value::Null);
        bail!("{}", problem_text(status, &problem));
    }
    let mut exit = Exit::Done;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let answer: Value = serde_json::from_str(line).context("the API answered without JSON")?;
        if answer.get("success") != Some(&Value::Bool(true)) {
            exit = Exit::No;
        }
        match output::form(global.output) {
            Output::Json | Output::Ndjson => output::line(line)?,
            Output::Table => output::line(&sentence(&answer))?,
        }
    }
    Ok(exit)
}

fn body(command: &Publish) -> Result<String> {
    let Some(file) = &command.file else {
        return Ok(Value::Object(span(command)?).to_string());
    };
    if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))
}

fn span(command: &Publish) -> Result<Map<String, Value>> {
    let mut span = Map::new();
    let named = [
        ("entity_type", &command.entity_type),
        ("who", &command.who),
        ("this", &command.this),
        ("did", &command.did),
    ];
    for (field, value) in named {
        if let Some(value) = value {
            span.insert(field.to_owned(), Value::String(value.clone()));
        }
    }
    for pair in &command.set {
        let (field, value) = pair
            .split_once('=')
            .with_context(|| format!("--set `{pair}` wants FIELD=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        span.insert(field.to_owned(), value);
    }
    for pair in &command.set_file {
        let (field, file) = pair
            .split_once('=')
            .with_context(|| format!("--set-file `{pair}` wants FIELD=FILE"))?;
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?;
        span.insert(field.to_owned(), Value::String(text));
    }
    Ok(span)
}

fn sentence(answer: &Value) -> String {
    let text = |name: &str| {
        answer
            .get(name)
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), output::printable)
            })
            .unwrap_or_default()
    };
    match (
        answer.get("success"),
        answer.get("level"),
        answer.get("duplicate"),
    ) {
        (Some(Value::Bool(true)), Some(_), _) => {
            format!("received {}: receipt {}", text("id"), text("receipt"))
        }
        (Some(Value::Bool(true)), None, Some(Value::Bool(true))) => format!(
            "sealed before {} at position {}",
            text("id"),
            text("position")
        ),
        (Some(Value::Bool(true)), None, _) => format!(
            "sealed {} at position {} {}",
            text("id"),
            text("position"),
            text("curr_hash")
        ),
        _ => format!(
            "refused {} at `{}`: {}",
            text("code"),
            text("pointer"),
            text("detail")
        ),
    }
}
