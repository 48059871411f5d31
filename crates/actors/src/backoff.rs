//! The one kind of waiting for a while: growing pauses after a failure.

use std::time::Duration;

/// The first pause and the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Pause after the first failure.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after `failures` failures in a row, doubled each time.
    pub(crate) fn after(&self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(20);
        self.first
            .saturating_mul(1_u32 << doublings)
            .min(self.longest)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "bounded backoff after a failure, the exception that EXE-6 allows"
    )]
    pub(crate) async fn wait(&self, failures: u64) {
        tokio::time::sleep(self.after(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        };
        let pauses: Vec<_> = [1, 2, 3, 6, 7, u64::MAX]
            .map(|failures| backoff.after(failures).as_millis())
            .into();
        assert_eq!(pauses, [100, 200, 400, 3200, 5000, 5000]);
    }
}
