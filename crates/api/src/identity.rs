//! Who asks: a bearer token, known by its digest, or nobody (API-2).

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use logline_span::{Code, Hash, Reader, TenantId, reserved};

use crate::{
    config::{Error, Token},
    problem::Problem,
    server::State,
};

const SCHEME: &str = "bearer";

/// The tokens by digest. A look-up compares digests alone, so that its time says nothing about a token.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<Hash, Bearer>);

/// Whom a token stands for.
#[derive(Clone, Debug)]
struct Bearer {
    reader: Arc<Reader>,
    reads_log: bool,
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>) -> Result<Self, Error> {
        let entries = tokens.into_iter().map(|token| {
            if token.principal.is_system() || token.tenant.as_str() == reserved::TENANT {
                return Err(Error::SystemToken {
                    tenant: token.tenant,
                    principal: token.principal,
                });
            }
            let reads_log = token.reads_log();
            let reader = Reader {
                tenant: token.tenant,
                principal: token.principal,
            };
            let bearer = Bearer {
                reader: Arc::new(reader),
                reads_log,
            };
            Ok((token.digest, bearer))
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    fn find(&self, token: &str) -> Option<Bearer> {
        self.0.get(&Hash::of(token.as_bytes())).cloned()
    }
}

/// Whose request it is; `None` is anonymous and reads public spans only.
pub(crate) struct Identity(pub(crate) Option<Arc<Reader>>);

impl Identity {
    pub(crate) fn reader(&self) -> Option<&Reader> {
        self.0.as_deref()
    }
}

impl FromRequestParts<Arc<State>> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let bearer = bearer(parts, state)?;
        Ok(Self(bearer.map(|bearer| bearer.reader)))
    }
}

/// The bearer of the token that came with the request; none without credentials.
fn bearer(parts: &Parts, state: &State) -> Result<Option<Bearer>, Problem> {
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
    });
    let bearer = token.and_then(|token| state.tokens.find(token));
    match (bearer, given.next()) {
        (Some(bearer), None) => Ok(Some(bearer)),
        _ => Err(Problem::wrong_credentials()),
    }
}

/// A request for a tenant's log as a whole (LED-8); who may not read all of it is told no more than that it is not there.
pub(crate) struct Auditor(pub(crate) Arc<Reader>);

impl FromRequestParts<Arc<State>> for Auditor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        match bearer(parts, state)? {
            Some(bearer) if bearer.reads_log => Ok(Self(bearer.reader)),
            Some(_) => Err(no_log()),
            None => Err(Problem::no_credentials()),
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
        let Identity(reader) = Identity::from_request_parts(parts, state).await?;
        reader.map(Self).ok_or_else(Problem::no_credentials)
    }
}
