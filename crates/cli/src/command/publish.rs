//! `logline publish`: spans from flags, a file or standard input, through the API.

use std::{collections::BTreeMap, io::Read};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

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

/// What one request takes by default: entries, and a little less than its bytes.
const ENTRIES_MAX: usize = 1000;
const BYTES_MAX: usize = 7 << 20;

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
    let client = Client::new(global)?;
    let mut exit = Exit::Done;
    for chunk in chunks(&body) {
        if let Exit::No = publish(global, &client, chunk, wait)? {
            exit = Exit::No;
        }
    }
    Ok(exit)
}

/// Whole lines, as many at a time as one request takes.
fn chunks(body: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let (mut start, mut end, mut entries) = (0, 0, 0);
    for line in body.split_inclusive('\n') {
        if entries == ENTRIES_MAX || (entries > 0 && end - start + line.len() > BYTES_MAX) {
            chunks.push((start, end));
            (start, entries) = (end, 0);
        }
        end += line.len();
        entries += 1;
    }
    chunks.push((start, end));
    let text = |(start, end)| body.get(start..end);
    chunks.into_iter().filter_map(text).collect()
}

fn publish(global: &Global, client: &Client, body: &str, wait: &str) -> Result<Exit> {
    let query = [("wait", wait.to_owned())];
    let (status, text) = client.post(
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
        return Ok(serde_json::to_string(&span(command)?)?);
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

/// The values stay as they were written: what the server must refuse is not made acceptable here.
fn span(command: &Publish) -> Result<BTreeMap<&str, Box<RawValue>>> {
    let mut span = BTreeMap::new();
    let named = [
        ("entity_type", &command.entity_type),
        ("who", &command.who),
        ("this", &command.this),
        ("did", &command.did),
    ];
    for (field, value) in named {
        if let Some(value) = value {
            span.insert(field, to_raw_value(value)?);
        }
    }
    for pair in &command.set {
        let (field, value) = pair
            .split_once('=')
            .with_context(|| format!("--set `{pair}` wants FIELD=VALUE"))?;
        let raw = serde_json::from_str(value).or_else(|_| to_raw_value(value))?;
        span.insert(field, raw);
    }
    for pair in &command.set_file {
        let (field, file) = pair
            .split_once('=')
            .with_context(|| format!("--set-file `{pair}` wants FIELD=FILE"))?;
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?;
        span.insert(field, to_raw_value(&text)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_goes_in_chunks_of_whole_lines() {
        let body = "{}\n".repeat(2 * ENTRIES_MAX + 1);
        let chunks = chunks(&body);
        let lines: Vec<usize> = chunks.iter().map(|chunk| chunk.lines().count()).collect();
        assert_eq!(lines, [ENTRIES_MAX, ENTRIES_MAX, 1]);
        assert_eq!(chunks.concat(), body);
        let long = format!("{0}\n{0}\n", "x".repeat(BYTES_MAX - 10));
        assert_eq!(super::chunks(&long).len(), 2);
        assert_eq!(super::chunks("{}"), ["{}"]);
    }

    #[test]
    fn a_value_is_sent_as_it_was_written() {
        let command = Publish {
            file: None,
            entity_type: Some("activity".to_owned()),
            who: Some("a\"b".to_owned()),
            this: Some("door".to_owned()),
            did: None,
            set: vec![
                r#"metadata={"a":1,"a":18446744073709551616}"#.to_owned(),
                "status=not json".to_owned(),
            ],
            set_file: Vec::new(),
            wait: Wait::Sealed,
        };
        assert_eq!(
            body(&command).unwrap(),
            r#"{"entity_type":"activity","metadata":{"a":1,"a":18446744073709551616},"status":"not json","this":"door","who":"a\"b"}"#
        );
    }
}
