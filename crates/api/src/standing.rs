//! `GET /api/standing`: who has which role, and whose each public key is (GOV-6, GOV-7).

use std::sync::Arc;

use axum::{
    Json,
    extract::State as Shared,
    http::Uri,
    response::{IntoResponse, Response},
};
use logline_ledger::{Given, Standing};
use serde::Serialize;

use crate::{
    identity::Publisher, parameters::Parameters, problem::Problem, server::State, timeline,
};

#[derive(Serialize)]
struct Held {
    roles: Vec<Role>,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Role {
    principal: String,
    role: String,
    since: Option<String>,
    given_by: String,
}

#[derive(Serialize)]
struct Key {
    principal: String,
    public_key: String,
    device: Option<String>,
    since: Option<String>,
    given_by: String,
}

/// The roles and keys of the asker's tenant, now or as of an instant.
pub(crate) async fn standing(
    Shared(state): Shared<Arc<State>>,
    Publisher(reader): Publisher,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::parse(&uri, &["as_of"])?;
    let as_of = timeline::as_of(&mut parameters)?;
    let session = state.reader.as_reader(Some(&reader));
    let mut held = Held {
        roles: Vec::new(),
        keys: Vec::new(),
    };
    for standing in timeline::read(session.standing(as_of)).await? {
        let Standing {
            given,
            principal,
            value,
            device,
            since,
            given_by,
        } = standing;
        let since = since.map(|since| since.to_string());
        match given {
            Given::Role => held.roles.push(Role {
                principal,
                role: value,
                since,
                given_by,
            }),
            Given::Key => held.keys.push(Key {
                principal,
                public_key: value,
                device,
                since,
                given_by,
            }),
        }
    }
    Ok(Json(held).into_response())
}
