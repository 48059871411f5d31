//! `logline tail`: sealed spans as they come, over the API's event stream.

use anyhow::Result;

use super::query::Filters;
use crate::{
    Exit,
    args::{Global, Output},
    client::Client,
    output,
};

/// The end frame of a stream whose reader must show the token again.
const EXPIRED: &str = r#"{"reason":"expired"}"#;

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
    let client = Client::new(global)?;
    loop {
        let after = last.clone();
        ended.clear();
        client.events(
            "/api/timeline/stream",
            &command.filters.query(),
            after.as_deref(),
            |event, id, data| {
                if event == "end" {
                    data.clone_into(&mut ended);
                    return Ok(false);
                }
                if event == "span" {
                    match form {
                        Output::Json | Output::Ndjson => output::line(data)?,
                        Output::Table => {
                            output::line(&output::span_row(&serde_json::from_str(data)?))?;
                        }
                    }
                    left = left.map(|left| left.saturating_sub(1));
                }
                // What was passed over need not be looked at again.
                if !id.is_empty() {
                    last = Some(id.to_owned());
                }
                Ok(left != Some(0))
            },
        )?;
        // The token is to be shown again; one that has ended is refused then.
        if ended != EXPIRED {
            break;
        }
    }
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
