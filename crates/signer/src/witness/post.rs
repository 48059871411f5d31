//! The call to a witness. The client is a blocking one, which the tree has already; a call is short and bounded, and has a thread of the
//! runtime's to itself.

use std::time::Duration;

use logline_proof::ConsistencyProof;
use logline_proof::witness::{ANSWER_BYTES_MAX, Answer, Unusable};
use ureq::Agent;
use ureq::http::header::CONTENT_TYPE;

/// How long a witness may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the witness cannot be reached")]
    Unreachable(#[source] Box<ureq::Error>),
    #[error("the witness answered what is no answer")]
    Unusable(#[from] Unusable),
}

/// Keeps connections to witnesses open. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Caller(Agent);

impl Caller {
    pub(super) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Only `cli` reads the environment.
            .proxy(None)
            .timeout_global(Some(ANSWER_MAX))
            .build();
        Self(config.into())
    }

    /// Submits a head.
    pub(super) async fn add_checkpoint(
        &self,
        url: &str,
        proof: &ConsistencyProof,
    ) -> Result<Answer, CallError> {
        let (agent, body) = (self.0.clone(), proof.to_string());
        let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
        let calling = tokio::task::spawn_blocking(move || call(&agent, &url, &body));
        calling
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn call(agent: &Agent, url: &str, body: &str) -> Result<Answer, CallError> {
    let failed = |error| CallError::Unreachable(Box::new(error));
    let mut response = agent.post(url).send(body).map_err(failed)?;
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok().map(str::to_owned));
    let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let body = response.body_mut().with_config().limit(limit);
    let body = body.read_to_string().map_err(failed)?;
    let status = response.status().as_u16();
    Ok(Answer::read(status, content_type.as_deref(), &body)?)
}
