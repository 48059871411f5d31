//! `GET /api/receipts/{receipt}`: what became of a span that was still on its way when its publisher was answered.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use logline_bus::{Receipt, ReceiptToken};
use logline_ledger::StoredOutcome;
use logline_span::{Code, Refusal};

use crate::{
    identity::Publisher, parameters::Parameters, problem::Problem, server::State, timeline,
};

/// Sealing takes milliseconds once the ledger is back.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The receipt, for the one who published: 404 while the span is on its way.
pub(crate) async fn receipt(
    Shared(state): Shared<Arc<State>>,
    Publisher(reader): Publisher,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    let token: ReceiptToken = timeline::segment(path)?.parse().map_err(|_| {
        let detail = "must be a receipt as `POST /api/spans` gives it out";
        Refusal::new(Code::InvalidValue, detail).at("/receipt")
    })?;
    let session = state.reader.as_reader(Some(&reader));
    let outcome = timeline::read(session.outcome(token.ingest_seq, token.digest)).await?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok(match outcome {
        Some(StoredOutcome::Refused(refusal)) => {
            (json, Receipt::Refused(refusal).to_json()).into_response()
        }
        Some(StoredOutcome::Sealed {
            id,
            seq,
            at,
            position,
            curr_hash,
            duplicate,
        }) => {
            let receipt = Receipt::Sealed {
                id,
                seq,
                at,
                position,
                curr_hash,
                duplicate,
            };
            (json, receipt.to_json()).into_response()
        }
        None => {
            let detail = "there is no such receipt yet, or it is not yours";
            let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
            (retry, Problem::new(Code::NotFound, detail)).into_response()
        }
    })
}
