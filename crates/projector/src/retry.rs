//! Waiting for a server that is away.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double up to a second.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Waits; `None` once `stop` is cancelled.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded backoff towards a server that cannot announce its return"
    )]
    pub(crate) async fn pause(&mut self, stop: &CancellationToken) -> Option<()> {
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await
    }
}

/// Lets `patience` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "the one deadline: how long a stopping process finishes what it holds"
)]
pub(crate) async fn grace(patience: Duration) {
    tokio::time::sleep(patience).await;
}
