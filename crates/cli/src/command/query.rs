//! `logline query`: sealed spans through the API, the newest first.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    Exit,
    args::{Global, Output},
    client::{Client, problem_text},
    output,
};

/// Filters on spans, as the API's queries name them.
#[derive(Debug, clap::Args)]
pub(crate) struct Filters {
    /// Spans of this type.
    #[arg(long)]
    pub(crate) entity_type: Option<String>,
    /// Spans of this owner.
    #[arg(long)]
    pub(crate) owner_id: Option<String>,
    /// Spans of this tenant.
    #[arg(long)]
    pub(crate) tenant_id: Option<String>,
    /// Spans by this author.
    #[arg(long)]
    pub(crate) who: Option<String>,
    /// Spans with this status.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Spans of this trace.
    #[arg(long)]
    pub(crate) trace_id: Option<String>,
    /// Spans that belong to this one.
    #[arg(long)]
    pub(crate) parent_id: Option<String>,
    /// Spans that refer to this one.
    #[arg(long)]
    pub(crate) related_to: Option<String>,
}

impl Filters {
    /// The pairs of a query string.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("entity_type", &self.entity_type),
            ("owner_id", &self.owner_id),
            ("tenant_id", &self.tenant_id),
            ("who", &self.who),
            ("status", &self.status),
            ("trace_id", &self.trace_id),
            ("parent_id", &self.parent_id),
            ("related_to", &self.related_to),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| (name, value)))
        .collect()
    }
}

/// Flags of `logline query`.
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    #[command(flatten)]
    filters: Filters,
    /// Spans whose author dates them at or after this RFC 3339 time.
    #[arg(long)]
    since: Option<String>,
    /// Spans whose author dates them at or before this RFC 3339 time.
    #[arg(long)]
    until: Option<String>,
    /// What the ledger knew at this RFC 3339 time.
    #[arg(long)]
    as_of: Option<String>,
    /// How many spans, at most 1000.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Where an earlier answer stopped (its `next`).
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) fn run(global: &Global, command: &Query) -> Result<Exit> {
    let mut query = command.filters.query();
    let more = [
        ("since", &command.since),
        ("until", &command.until),
        ("as_of", &command.as_of),
        ("cursor", &command.cursor),
    ];
    query.extend(
        more.into_iter()
            .filter_map(|(name, value)| value.clone().map(|value| (name, value))),
    );
    query.push(("limit", command.limit.to_string()));
    let (status, page) = Client::new(global)?.get("/api/timeline", &query)?;
    if status != 200 {
        bail!("{}", problem_text(status, &page));
    }
    let spans = page
        .get("spans")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    match output::form(global.output) {
        Output::Json => output::line(&page.to_string())?,
        Output::Ndjson => spans
            .iter()
            .try_for_each(|span| output::line(&span.to_string()))?,
        Output::Table => {
            output::line(&output::heading())?;
            spans
                .iter()
                .try_for_each(|span| output::line(&output::span_row(span)))?;
            if let Some(next) = page.get("next").and_then(Value::as_str) {
                output::line(&format!("more: --cursor {next}"))?;
            }
        }
    }
    Ok(Exit::Done)
}
