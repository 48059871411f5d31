//! `logline tail`: sealed spans as they come, over the API's event stream.

use anyhow::Result;

use super::query::Filters;
use crate::{
    Exit,
    args::{Global, Output},
    client::Client,
    output,
};

/// Flags of `logline tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    filters: Filters,
    /// Go on after this resume token instead of starting with the next span.
    #[arg(long)]
    after: Option<String>,
    /// End after this many spans.
    #[arg(long)]
    count: Option<u64>,
}

pub(crate) fn run(global: &Global, command: &Tail) -> Result<Exit> {
    let form = output::form(global.output);
    if form == Output::Table {
        output::line(&output::heading())?;
    }
    let mut left = command.count;
    let mut last = command.after.clone();
    let mut ended = String::new();
    Client::new(global)?.events(
        "/api/timeline/stream",
        &command.filters.query(),
        command.after.as_deref(),
        |event, id, data| {
            if event == "end" {
                data.clone_into(&mut ended);
                return Ok(false);
            }
            if event == "span" {
                match form {
                    Output::Json | Output::Ndjson => output::line(data)?,
                    Output::Table => output::line(&output::span_row(&serde_json::from_str(data)?))?,
                }
                last = Some(id.to_owned());
                left = left.map(|left| left.saturating_sub(1));
            }
            Ok(left != Some(0))
        },
    )?;
    if left == Some(0) {
        return Ok(Exit::Done);
    }
    let resume = last
        .map(|last| format!("; go on with --after {last}"))
        .unwrap_or_default();
    let reason = if ended.is_empty() {
        "the connection closed"
    } else {
        &ended
    };
    anyhow::bail!("the stream ended: {reason}{resume}")
}
