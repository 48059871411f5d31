//! Who asks: a bearer token, known by its digest, or nobody (API-2).

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use logline_span::{Hash, Reader, reserved};

use crate::{
    config::{Error, Token},
    problem::Problem,
    server::State,
};

const SCHEME: &str = "bearer";

/// The tokens by digest. A look-up compares digests alone, so that its time says nothing about a token.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<Hash, Arc<Reader>>);

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>) -> Result<Self, Error> {
        let entries = tokens.into_iter().map(|token| {
            if token.principal.is_system() || token.tenant.as_str() == reserved::TENANT {
                return Err(Error::SystemToken {
                    tenant: token.tenant,
                    principal: token.principal,
                });
            }
            let reader = Reader {
                tenant: token.tenant,
                principal: token.principal,
            };
            Ok((token.digest, Arc::new(reader)))
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    fn find(&self, token: &str) -> Option<Arc<Reader>> {
        self.0.get(&Hash::of(token.as_bytes())).map(Arc::clone)
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
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = given.next() else {
            return Ok(Self(None));
        };
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
        });
        let reader = token.and_then(|token| state.tokens.find(token));
        match (reader, given.next()) {
            (Some(reader), None) => Ok(Self(Some(reader))),
            _ => Err(Problem::wrong_credentials()),
        }
    }
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
