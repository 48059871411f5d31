//! Reading sealed spans: pages of the timeline, and one span. Every read is made as the identity that asks.

mod filters;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use logline_ledger::{AsOf, Error, Page, Query};
use logline_span::{Code, Refusal, Seq, SpanId, Timestamp};

pub(crate) use self::filters::{FILTERS, Filters};
use crate::{identity::Identity, parameters::Parameters, problem::Problem, server::State, signed};

/// How long the ledger may take to answer a read: a stalled one is as good as away (API-4).
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";

/// `GET /api/timeline`, also `GET /api/spans`: the latest versions that match, the newest sealed first.
pub(crate) async fn list(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    uri: Uri,
) -> Result<Response, Problem> {
    let known: Vec<&str> = FILTERS
        .iter()
        .copied()
        .chain(["limit", "cursor", "as_of"])
        .collect();
    let mut parameters = Parameters::parse(&uri, &known)?;
    let Filters(filters) = Filters::take(&mut parameters)?;
    let query = Query {
        limit: limit(&mut parameters)?,
        cursor: match parameters.text("cursor").map(|text| text.parse()) {
            None => None,
            Some(Ok(cursor)) => Some(cursor),
            Some(Err(_)) => return Err(invalid_cursor("cursor")),
        },
        as_of: as_of(&mut parameters)?,
        ..filters
    };
    let session = state.reader.as_reader(identity.reader());
    let page = read(session.timeline(&query)).await?;
    let spans = read(signed::shown(&session, &page.spans)).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], page_text(&page, &spans)).into_response())
}

/// `GET /api/spans/{id}`: the latest version, or the one that `seq` and `as_of` name.
pub(crate) async fn one(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["seq", "as_of"])?;
    let seq: Option<Seq> = parameters.take("seq")?;
    let as_of = as_of(&mut parameters)?;
    let id: SpanId = segment(path)?
        .parse()
        .map_err(|refusal: Refusal| refusal.at("/id"))?;
    let session = state.reader.as_reader(identity.reader());
    match read(session.get(id, seq, as_of)).await? {
        Some(sealed) => {
            let spans = read(signed::shown(&session, &[sealed])).await?;
            Ok(([(header::CONTENT_TYPE, JSON)], spans.concat()).into_response())
        }
        None => Err(Problem::new(
            Code::NotFound,
            "there is no such span that you may read",
        )),
    }
}

/// The one variable part of a path.
pub(crate) fn segment(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match path {
        Ok(Path(segment)) => Ok(segment),
        Err(_) => Err(Problem::new(Code::InvalidUtf8, "the path is not UTF-8")),
    }
}

/// A cursor or resume token that was not given out here.
pub(crate) fn invalid_cursor(name: &str) -> Problem {
    let detail = "is none that an earlier answer gave out";
    Refusal::new(Code::InvalidCursor, detail)
        .at(format!("/{name}"))
        .into()
}

/// Waits for the ledger as long as a reader should.
pub(crate) async fn read<T>(reading: impl Future<Output = Result<T, Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(result) => result.map_err(|error| ledger_problem(&error)),
        Err(_) => Err(Problem::new(
            Code::LedgerUnavailable,
            "the ledger did not answer in time",
        )),
    }
}

fn ledger_problem(error: &Error) -> Problem {
    match error {
        Error::NotYetSealed { sealed_through } => {
            let detail = match sealed_through {
                Some(instant) => {
                    format!("lies beyond what is sealed, which goes through {instant}")
                }
                None => "lies beyond what is sealed: nothing is yet".to_owned(),
            };
            Problem::parameter("as_of", detail)
        }
        Error::Unavailable(_) => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the ledger is away"
            );
            Problem::new(Code::LedgerUnavailable, "the ledger cannot be reached")
        }
        Error::Url(_)
        | Error::Refused(_)
        | Error::Undecodable { .. }
        | Error::Fenced
        | Error::NotAClient
        | Error::NotProvisioned => {
            tracing::error!(error = error as &dyn std::error::Error, "a read failed");
            Problem::new(Code::Internal, "the ledger could not be read")
        }
    }
}

fn limit(parameters: &mut Parameters) -> Result<u32, Problem> {
    let Some(text) = parameters.text("limit") else {
        return Ok(Query::LIMIT);
    };
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=Query::LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        Problem::parameter(
            "limit",
            format!("must be an integer from 1 to {}", Query::LIMIT_MAX),
        )
    })
}

pub(crate) fn as_of(parameters: &mut Parameters) -> Result<AsOf, Problem> {
    let instant: Option<Timestamp> = parameters.take("as_of")?;
    Ok(instant.map_or(AsOf::Latest, AsOf::At))
}

/// Spans are written as the ledger has them: their JSON is not parsed on the way.
fn page_text(page: &Page, spans: &[String]) -> String {
    let quoted =
        |text: Option<String>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
    let next = quoted(page.next.as_ref().map(ToString::to_string));
    let sealed_through = quoted(page.sealed_through.as_ref().map(ToString::to_string));
    format!(
        r#"{{"spans":[{}],"count":{},"has_more":{},"next":{next},"sealed_through":{sealed_through}}}"#,
        spans.join(","),
        spans.len(),
        page.next.is_some(),
    )
}
