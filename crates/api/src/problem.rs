//! Errors as clients see them: RFC 9457 problem documents (API-1).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use logline_span::{Code, Refusal};
use serde::Serialize;

/// How long a client waits before it tries again after a 429 or 503, in seconds, where nothing else is known.
const RETRY_AFTER_S: u64 = 1;
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"logline\"");
const CHALLENGE_INVALID: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"logline\", error=\"invalid_token\"");

/// A refused request. It travels as an extension of an empty response until
/// [`Problem::render`] writes it down, where the request's trace is known.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    refusal: Refusal,
    challenge: Option<HeaderValue>,
    retry_after_s: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    code: Code,
    pointer: &'a str,
    detail: &'a str,
    remedy: &'static str,
    trace_id: &'a str,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal::new(code, detail).into()
    }

    /// A query parameter that is unknown, repeated or malformed; its name is the pointer.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        Refusal::new(Code::InvalidQuery, detail).at(pointer).into()
    }

    /// Credentials are needed and none were sent.
    pub(crate) fn no_credentials() -> Self {
        let mut problem = Self::new(Code::Unauthorized, "this call needs a bearer token");
        problem.challenge = Some(CHALLENGE);
        problem
    }

    /// Credentials were sent and they are not valid.
    pub(crate) fn wrong_credentials(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::Unauthorized, detail);
        problem.challenge = Some(CHALLENGE_INVALID);
        problem
    }

    /// Says when to come back, after a 429 or 503.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after_s: seconds,
            ..self
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.refusal.code
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.refusal.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The document, in place of the body of the response that carried the problem.
    pub(crate) fn render(&self, trace_id: &str, headers: &mut HeaderMap) -> Body {
        let status = self.status();
        let document = Document {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.refusal.code,
            pointer: &self.refusal.pointer,
            detail: &self.refusal.detail,
            remedy: self.refusal.code.remedy(),
            trace_id,
        };
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.remove(header::CONTENT_LENGTH);
        Body::from(serde_json::to_vec(&document).unwrap_or_default())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            challenge: None,
            retry_after_s: RETRY_AFTER_S,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, self.retry_after_s.into());
            }
            _ => {}
        }
        if let Some(challenge) = &self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    /// `UPDATE_EXPECT=1` writes the page.
    #[test]
    fn the_page_of_errors_lists_every_code() {
        let mut page =
            "# Error codes\n\nGenerated from `crates/span/src/refusal.rs`; a test compares.\n\n\
            The same codes come in problem documents, receipts and the addresses of quarantine.\n\
            A code is never renamed, and a retired one is never used again.\n\n\
            | code | HTTP | what to do |\n| --- | --- | --- |\n"
                .to_owned();
        for code in Code::ALL {
            let (status, remedy) = (code.http_status(), code.remedy());
            page.push_str(&format!("| `{code}` | {status} | {remedy} |\n"));
        }
        expect_file!["../../../docs/errors.md"].assert_eq(&page);
    }
}
