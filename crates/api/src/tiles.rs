//! A tenant's log as C2SP's `tlog-tiles`, for those who may read all of it (LED-8). The prefix is `/api/log/<tenant>`.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use logline_proof::tile::Resource;
use logline_span::Code;

use crate::{
    identity::Auditor, log::TEXT, parameters::Parameters, problem::Problem, server::State, timeline,
};

/// What a path names never changes, but it is for its reader alone.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// The newest head is another one soon.
const MOMENTARY: HeaderValue = HeaderValue::from_static("private, max-age=1");
/// What is not there may be there in a second.
const NEVER: HeaderValue = HeaderValue::from_static("no-store");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `GET /api/log/{tenant}/checkpoint`: the newest signed head.
pub(crate) async fn checkpoint(
    Shared(state): Shared<Arc<State>>,
    auditor: Auditor,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Response {
    let note = async {
        Parameters::parse(&uri, &[])?;
        let named = timeline::segment(path)?;
        let tenant = auditor.tenant(&named)?;
        let session = state.reader.as_reader(Some(&auditor.0));
        timeline::read(session.checkpoint(tenant, false)).await
    };
    found(note.await, |note| {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(TEXT)),
            (header::CACHE_CONTROL, MOMENTARY),
        ];
        (headers, note).into_response()
    })
}

/// `GET /api/log/{tenant}/tile/{path}`: hashes of the tree, or under `entries` what its leaves are the hashes of.
pub(crate) async fn tile(
    Shared(state): Shared<Arc<State>>,
    auditor: Auditor,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Response {
    let bytes = async {
        Parameters::parse(&uri, &[])?;
        let Ok(Path((named, place))) = path else {
            return Err(Problem::new(Code::InvalidUtf8, "the path is not UTF-8"));
        };
        let tenant = auditor.tenant(&named)?;
        let Ok(resource) = format!("tile/{place}").parse() else {
            return Ok(None);
        };
        let session = state.reader.as_reader(Some(&auditor.0));
        match resource {
            Resource::Tile(tile) => timeline::read(session.tile(tenant, &tile)).await,
            Resource::Entries(bundle) => timeline::read(session.entries(&bundle)).await,
        }
    };
    found(bytes.await, |bytes| {
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::CONTENT_TYPE, BYTES),
            (header::CACHE_CONTROL, FOR_EVER),
        ];
        (headers, bytes).into_response()
    })
}

/// The answer; errors are never kept by anyone on the way.
fn found<T>(outcome: Result<Option<T>, Problem>, answer: impl FnOnce(T) -> Response) -> Response {
    let problem = match outcome {
        Ok(Some(found)) => return answer(found),
        Ok(None) => Problem::new(
            Code::NotFound,
            "no signed head covers it, or the path names no tile",
        ),
        Err(problem) => problem,
    };
    ([(header::CACHE_CONTROL, NEVER)], problem).into_response()
}
