//! For operators: is it alive, is it ready, what did it count.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State as Shared,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{parameters::Parameters, problem::Problem, server::State};

/// How long the ledger may take to show that it answers.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    checks: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Finding<'a> {
    name: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl<'a> Finding<'a> {
    fn new(name: &'a str, result: Result<(), String>) -> Self {
        Self {
            name,
            ok: result.is_ok(),
            detail: result.err(),
        }
    }
}

/// `GET /healthz`: the process answers.
pub(crate) async fn health(uri: Uri) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    Ok(Json(Health { status: "ok" }).into_response())
}

/// `GET /readyz`: whether every part works, each by its name.
pub(crate) async fn ready(
    Shared(state): Shared<Arc<State>>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    let bus = if state.bus.connected().borrow().up {
        Ok(())
    } else {
        Err("no connection to the bus".to_owned())
    };
    let ledger = match tokio::time::timeout(LEDGER_TIMEOUT, state.reader.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the ledger did not answer within {} s",
            LEDGER_TIMEOUT.as_secs()
        )),
    };
    let mut checks = vec![Finding::new("bus", bus), Finding::new("ledger", ledger)];
    checks.extend(
        state
            .checks
            .iter()
            .map(|check| Finding::new(check.name(), check.ask())),
    );
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(Readiness { ready, checks })).into_response())
}

/// `GET /metrics`: what the process counted, as Prometheus reads it.
pub(crate) async fn metrics(uri: Uri) -> Result<Response, Problem> {
    Parameters::parse(&uri, &[])?;
    let form = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((form, logline_telemetry::metrics::render()).into_response())
}
