//! Every call of the API in one list; `docs/http.md` is checked against it.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use logline_span::Code;
use tower_http::cors::CorsLayer;

use crate::{
    access, log, operations, problem::Problem, publish, receipt, server::State, standing, stream,
    tiles, timeline,
};

/// One call.
struct Route {
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "axum knows it from the handler; the reference is checked by it"
        )
    )]
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<State>>,
}

/// What the API answers.
const ROUTES: &[Route] = &[
    call("POST", "/api/spans", || post(publish::publish)),
    call("GET", "/api/receipts/{receipt}", || get(receipt::receipt)),
    call("GET", "/api/spans", || get(timeline::list)),
    call("GET", "/api/timeline", || get(timeline::list)),
    call("GET", "/api/spans/{id}", || get(timeline::one)),
    call("GET", "/api/timeline/stream", || get(stream::stream)),
    call("GET", "/api/proofs/{id}", || get(log::proof)),
    call("GET", "/api/checkpoints/{tenant}", || get(log::checkpoint)),
    call("GET", "/api/log/keys", || get(log::keys)),
    call("GET", "/api/log/{tenant}/consistency", || {
        get(log::consistency)
    }),
    call("GET", "/api/log/{tenant}/checkpoint", || {
        get(tiles::checkpoint)
    }),
    call("GET", "/api/log/{tenant}/tile/{*path}", || get(tiles::tile)),
    call("GET", "/api/verify", || get(log::verify)),
    call("GET", "/api/standing", || get(standing::standing)),
    call("GET", "/healthz", || get(operations::health)),
    call("GET", "/readyz", || get(operations::ready)),
    call("GET", "/metrics", || get(operations::metrics)),
];

const fn call(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<State>>,
) -> Route {
    Route {
        method,
        path,
        handler,
    }
}

/// The routes with what happens to every request around them.
pub(crate) fn router(state: Arc<State>, cors: Option<CorsLayer>) -> Router {
    let mut router = ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            access::guard,
        ));
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    router
        .layer(middleware::from_fn(access::record))
        .with_state(state)
}

async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "there is no such call")
}

async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the call takes another method")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_call_and_no_other() {
        let page = include_str!("../../../docs/http.md");
        let documented: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
            .collect();
        let calls: Vec<String> = ROUTES
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(documented, calls);
    }
}
