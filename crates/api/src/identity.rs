//! Who asks: the holder of a bearer token, or nobody (API-2); and how often they may (429).

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use logline_access::{Access, Refused};
use logline_span::{Code, Reader, Timestamp};

use crate::{connection::Peer, problem::Problem, server::State};

const SCHEME: &str = "bearer";

/// Whose request it is.
pub(crate) struct Identity {
    /// None is anonymous, and reads public spans only.
    pub(crate) reader: Option<Arc<Reader>>,
    /// When the token ends.
    pub(crate) expires_at: Option<Timestamp>,
}

impl Identity {
    pub(crate) fn reader(&self) -> Option<&Reader> {
        self.reader.as_deref()
    }
}

impl FromRequestParts<Arc<State>> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let anonymous = || state.rates.of_address(peer.unwrap_or(NOWHERE));
        let token = match bearer(&parts.headers) {
            Ok(Some(token)) => token,
            Ok(None) => {
                anonymous()?;
                return Ok(Self {
                    reader: None,
                    expires_at: None,
                });
            }
            Err(problem) => {
                anonymous()?;
                return Err(problem);
            }
        };
        match state.access.verify(token).await {
            Ok(access) => {
                let reader = Arc::new(access.reader());
                state.rates.of_reader(&reader)?;
                let Access { expires_at, .. } = access;
                Ok(Self {
                    reader: Some(reader),
                    expires_at,
                })
            }
            Err(refused) => {
                // Who tries tokens is nobody, and is counted where they come from.
                anonymous()?;
                Err(refusal(&refused))
            }
        }
    }
}

/// Where a request comes from that came by no connection.
const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// The token of the one Authorization header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
    });
    match (token, given.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::wrong_credentials(
            "the Authorization header is not one bearer token",
        )),
    }
}

fn refusal(refused: &Refused) -> Problem {
    match refused {
        Refused::Ledger(error) => {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "an API key cannot be looked up");
            Problem::new(
                Code::LedgerUnavailable,
                "the ledger, which knows the token, cannot be asked",
            )
        }
        refused => Problem::wrong_credentials(refused.to_string()),
    }
}

/// A request that only an identity may make.
pub(crate) struct Publisher(pub(crate) Arc<Reader>);

impl FromRequestParts<Arc<State>> for Publisher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let Identity { reader, .. } = Identity::from_request_parts(parts, state).await?;
        reader.map(Self).ok_or_else(Problem::no_credentials)
    }
}
