use std::time::Duration;

/// Waits for an event, and fails the test when it does not come in time.
#[track_caller]
pub fn deadline<F: Future>(patience: Duration, event: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(patience, event).await {
            Ok(value) => value,
            Err(_) => panic!("nothing within {patience:?}, awaited at {caller}"),
        }
    }
}
