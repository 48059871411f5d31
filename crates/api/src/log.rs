//! The log as others verify it (LED-8, LED-10): signed heads, the keys that verify them, proofs of single spans.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use logline_ledger::Provable;
use logline_span::{Code, Refusal, Seq, SpanId, TenantId};

use crate::{
    identity::Identity, parameters::Parameters, problem::Problem, server::State, timeline,
};

const TEXT: &str = "text/plain; charset=utf-8";

/// What is sealed is signed within a second.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// `GET /api/checkpoints/{tenant}`: the newest signed head, for those who belong to the tenant.
pub(crate) async fn checkpoint(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    let tenant: TenantId = timeline::segment(path)?
        .parse()
        .map_err(|refusal: Refusal| refusal.at("/tenant"))?;
    let session = state.reader.as_reader(identity.reader());
    match timeline::read(session.checkpoint(&tenant)).await? {
        Some(note) => Ok(text(note)),
        None => Ok(not_yet(
            "there is no signed head yet, or the tenant is not yours",
        )),
    }
}

/// `GET /api/log/keys`: the keys that verify the heads of the reader's tenant and of `system`, one a line.
pub(crate) async fn keys(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    let session = state.reader.as_reader(identity.reader());
    let keys = timeline::read(session.log_keys()).await?;
    Ok(text(keys.iter().map(|key| format!("{key}\n")).collect()))
}

/// `GET /api/proofs/{id}`: that a span is in its tenant's log; the latest version, or the one that `seq` names.
pub(crate) async fn proof(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["seq"])?;
    let seq: Option<Seq> = parameters.take("seq")?;
    let id: SpanId = timeline::segment(path)?
        .parse()
        .map_err(|refusal: Refusal| refusal.at("/id"))?;
    let session = state.reader.as_reader(identity.reader());
    match timeline::read(session.proof(id, seq)).await? {
        Some(Provable::Proof(proof)) => Ok(text(proof.to_string())),
        Some(Provable::NotYet) => Ok(not_yet("no signed head covers the span yet")),
        None => Err(Problem::new(
            Code::NotFound,
            "there is no such span that you may read",
        )),
    }
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body).into_response()
}

fn not_yet(detail: &str) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (retry, Problem::new(Code::NotFound, detail)).into_response()
}
