//! The log as others verify it (LED-8, LED-10): signed heads, the keys that verify them, proofs of single spans.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use logline_ledger::{LogState, Provable, SignedHead};
use logline_proof::tree::SIZE_MAX;
use logline_span::{Code, Refusal, Seq, SpanId, TenantId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    identity::Identity, parameters::Parameters, problem::Problem, server::State, timeline,
};

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// What is sealed is signed within a second.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// `GET /api/checkpoints/{tenant}`: the newest signed head, for those who belong to the tenant.
pub(crate) async fn checkpoint(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["cosigned"])?;
    let cosigned = match parameters.text("cosigned").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::parameter("cosigned", "must be true or false")),
    };
    let tenant = tenant(path)?;
    let session = state.reader.as_reader(identity.reader());
    match timeline::read(session.checkpoint(&tenant, cosigned)).await? {
        Some(note) => Ok(text(note)),
        None => Ok(not_yet(
            "there is no such signed head yet, or the tenant is not yours",
        )),
    }
}

/// `GET /api/log/{tenant}/consistency`: that the log has only grown from one size to a signed head, for those who belong to the tenant.
pub(crate) async fn consistency(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["from", "to"])?;
    let from = size(&mut parameters, "from")?
        .ok_or_else(|| Problem::parameter("from", "is the size of an earlier checkpoint"))?;
    let to = size(&mut parameters, "to")?;
    if to.is_some_and(|to| to < from) {
        return Err(Problem::parameter("to", "is smaller than from"));
    }
    let tenant = tenant(path)?;
    let session = state.reader.as_reader(identity.reader());
    match timeline::read(session.consistency(&tenant, from, to)).await? {
        Some(proof) => Ok(text(proof.to_string())),
        None => Ok(not_yet(
            "there is no signed head of that size or beyond it yet, or the tenant is not yours",
        )),
    }
}

/// `GET /api/verify`: what the ledger says of the chain of the reader's tenant, or of the one that `tenant` names.
pub(crate) async fn verify(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["tenant"])?;
    let named: Option<TenantId> = parameters.take("tenant")?;
    let own = identity.reader().map(|reader| reader.tenant.clone());
    let tenant = named.or(own).ok_or_else(Problem::no_credentials)?;
    let session = state.reader.as_reader(identity.reader());
    match timeline::read(session.log_state(&tenant)).await? {
        Some(log) => Ok(Json(ChainState::of(&tenant, &log)).into_response()),
        None => Err(Problem::new(Code::NotFound, "the tenant is not yours")),
    }
}

/// [`LogState`] as clients see it.
#[derive(Serialize)]
struct ChainState<'a> {
    tenant: &'a str,
    /// Whether nothing speaks against the chain: the signed head holds, and the newest verification found no failure.
    ok: bool,
    sealed: Option<Value>,
    signed: Option<Value>,
    verified: Option<Value>,
}

impl<'a> ChainState<'a> {
    fn of(tenant: &'a TenantId, log: &LogState) -> Self {
        let LogState {
            sealed,
            signed,
            verified,
        } = log;
        let covers =
            |head: &SignedHead| sealed.is_some_and(|sealed| head.head.size <= sealed.position);
        let holds = |head: &SignedHead| head.is_signed && head.is_reproduced && covers(head);
        Self {
            tenant: tenant.as_str(),
            ok: signed.as_ref().is_none_or(holds)
                && verified.is_none_or(|verified| verified.failures == 0),
            sealed: sealed.map(|end| {
                json!({
                    "position": end.position,
                    "received_at": end.received_at.to_string(),
                    "curr_hash": end.curr_hash.to_string(),
                })
            }),
            signed: signed.map(|signed| {
                json!({
                    "size": signed.head.size,
                    "root": signed.head.root.to_string(),
                    "at": signed.made_at.to_string(),
                    "cosignatures": signed.cosignatures,
                    "signature_holds": signed.is_signed,
                    "root_holds": signed.is_reproduced,
                })
            }),
            verified: verified.map(|verified| {
                json!({
                    "at": verified.at.to_string(),
                    "first": verified.first,
                    "last": verified.last,
                    "failures": verified.failures,
                    "anchored": verified.is_anchored,
                })
            }),
        }
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

fn tenant(path: Result<Path<String>, PathRejection>) -> Result<TenantId, Problem> {
    let tenant = timeline::segment(path)?.parse();
    Ok(tenant.map_err(|refusal: Refusal| refusal.at("/tenant"))?)
}

/// The size of a tree.
fn size(parameters: &mut Parameters, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = parameters.text(name) else {
        return Ok(None);
    };
    let size = text.parse().ok().filter(|size| *size <= SIZE_MAX);
    match size {
        Some(size) => Ok(Some(size)),
        None => Err(Problem::parameter(name, "is no size of a tree")),
    }
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], body).into_response()
}

fn not_yet(detail: &str) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (retry, Problem::new(Code::NotFound, detail)).into_response()
}
