//! Which browser pages may call the API (API-3): none, unless an operator names their origins.

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Error;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The layer that lets `origins` in.
pub(crate) fn layer(origins: &[String]) -> Result<Option<CorsLayer>, Error> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origins: Vec<HeaderValue> = origins
        .iter()
        .map(|origin| value(origin))
        .collect::<Result<_, _>>()?;
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            TRACEPARENT,
            LAST_EVENT_ID,
        ])
        .expose_headers([
            REQUEST_ID,
            TRACEPARENT,
            header::LOCATION,
            header::RETRY_AFTER,
        ]);
    Ok(Some(layer))
}

/// An origin as browsers send it: scheme, host, port, nothing after it; never `*`.
fn value(origin: &str) -> Result<HeaderValue, Error> {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    let plain = |host: &str| {
        !host.is_empty()
            && !host.contains(['/', '*', '?', '#', '@'])
            && !host.contains(char::is_whitespace)
    };
    match (host, HeaderValue::from_str(origin)) {
        (Some(host), Ok(value)) if plain(host) => Ok(value),
        _ => Err(Error::Origin {
            origin: origin.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_with_a_path_or_a_wildcard_is_refused() {
        for origin in [
            "*",
            "https://*",
            "https://app.example/",
            "app.example",
            "https://",
            "null",
        ] {
            assert!(layer(&[origin.to_owned()]).is_err(), "{origin}");
        }
        assert!(
            layer(&["https://app.example:8443".to_owned()])
                .unwrap()
                .is_some()
        );
        assert!(layer(&[]).unwrap().is_none());
    }
}
