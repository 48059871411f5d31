//! The places between two steps, at which a test may stop the process (LED-12, LED-13).

use std::sync::Arc;

/// What has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The shard was taken: whoever sealed before is fenced.
    Acquired,
    /// `TIMELINE` holds again what it had lost.
    Mended,
    /// Messages were taken from the bus.
    Taken,
    /// What becomes of them is decided.
    Decided,
    /// Those that are refused lie in quarantine.
    SetAside,
    /// The transaction is committed.
    Committed,
    /// `TIMELINE` has the sealed spans.
    Appended,
    /// The publishers are answered.
    Answered,
    /// The bus knows that the messages are done with.
    Acknowledged,
    /// `INGEST` was looked at, and relieved where it was due.
    Purged,
}

/// Called at every step.
pub type OnStep = Arc<dyn Fn(Step) + Send + Sync>;

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::Acquired,
        Self::Mended,
        Self::Taken,
        Self::Decided,
        Self::SetAside,
        Self::Committed,
        Self::Appended,
        Self::Answered,
        Self::Acknowledged,
        Self::Purged,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::Mended => "mended",
            Self::Taken => "taken",
            Self::Decided => "decided",
            Self::SetAside => "set_aside",
            Self::Committed => "committed",
            Self::Appended => "appended",
            Self::Answered => "answered",
            Self::Acknowledged => "acknowledged",
            Self::Purged => "purged",
        }
    }
}
