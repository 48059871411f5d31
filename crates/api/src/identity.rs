//! Who asks: the holder of a bearer token, or nobody (API-2); and how often they may (429).

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use logline_access::{Access, Refused};
use logline_span::{Code, Reader, RoleName, TenantId, Timestamp};

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
        let access = access(parts, state).await?;
        Ok(Self {
            reader: access.as_ref().map(|access| Arc::new(access.reader())),
            expires_at: access.and_then(|access| access.expires_at),
        })
    }
}

/// Whom the request's token stands for, none without one; the request is counted.
async fn access(parts: &Parts, state: &State) -> Result<Option<Access>, Problem> {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let anonymous = || state.rates.of_address(peer.unwrap_or(NOWHERE));
    let verdict = match bearer(&parts.headers) {
        Ok(None) => return anonymous().map(|()| None),
        Ok(Some(token)) => state.access.verify(token).await,
        Err(problem) => return anonymous().and(Err(problem)),
    };
    match verdict {
        Ok(access) => state
            .rates
            .of_reader(&access.reader())
            .map(|()| Some(access)),
        // Who tries tokens is nobody, and is counted where they come from.
        Err(refused) => anonymous().and(Err(refusal(&refused))),
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
            tracing::warn!(
                error,
                "an API key or the roles of a token cannot be looked up"
            );
            Problem::new(
                Code::LedgerUnavailable,
                "the ledger, which knows the token or its roles, cannot be asked",
            )
        }
        refused => Problem::wrong_credentials(refused.to_string()),
    }
}

/// The roles whose holders may read all of a tenant's log.
const LOG_READERS: [&str; 2] = [RoleName::ADMIN, "auditor"];

/// A request for a tenant's log as a whole (LED-8); who may not read all of it is told no more than that it is not there.
pub(crate) struct Auditor(pub(crate) Arc<Reader>);

impl FromRequestParts<Arc<State>> for Auditor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let access = access(parts, state).await?;
        let access = access.ok_or_else(Problem::no_credentials)?;
        let roles = state.access.roles(&access).await;
        let roles = roles.map_err(|refused| refusal(&refused))?;
        if roles
            .iter()
            .any(|role| LOG_READERS.contains(&role.as_str()))
        {
            Ok(Self(Arc::new(access.reader())))
        } else {
            Err(no_log())
        }
    }
}

impl Auditor {
    /// The tenant that the path names, which must be the auditor's own.
    pub(crate) fn tenant(&self, named: &str) -> Result<&TenantId, Problem> {
        let own = &self.0.tenant;
        (own.as_str() == named).then_some(own).ok_or_else(no_log)
    }
}

fn no_log() -> Problem {
    let detail = "there is no such log that you may read as a whole: it takes the role admin or auditor of its tenant";
    Problem::new(Code::NotFound, detail)
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
