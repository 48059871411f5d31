//! `logline keys`: the keys that verify the signed heads of the log (LED-8).

use anyhow::Result;
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    client::Client,
    output,
};

/// Flags of `logline keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {}

pub(crate) fn run(global: &Global, _command: &Keys) -> Result<Exit> {
    let text = Client::new(global)?.get_text("/api/log/keys", &[])?;
    match global.output {
        Some(Output::Json) => {
            let keys: Vec<&str> = text.lines().collect();
            output::line(&json!({ "keys": keys }).to_string())?;
        }
        // The keys are meant to be pasted into other tools, so the plain lines are the default everywhere.
        Some(Output::Ndjson) => {
            for key in text.lines() {
                output::line(&json!(key).to_string())?;
            }
        }
        Some(Output::Table) | None => text.lines().try_for_each(output::line)?,
    }
    Ok(Exit::Done)
}
