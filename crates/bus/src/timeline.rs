//! Appending to the timeline: the n-th sealed span is its message n (LED-12).

use bytes::Bytes;
use logline_span::Sealed;

use crate::{AppendError, Bus, Error, Subject};

/// One sealed span for the timeline.
#[derive(Clone)]
pub struct TimelineEntry {
    /// Its address.
    pub subject: Subject,
    /// [`Sealed::to_json`].
    pub body: Bytes,
    /// The trace context of the message that it was sealed from.
    pub traceparent: Option<String>,
    /// Length of the chain of causes.
    pub depth: u16,
}

impl Bus {
    /// Number of the last message of the timeline; 0 where it holds none.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn timeline_last(&self) -> Result<u64, Error> {
        todo!()
    }

    /// One message of the timeline.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn timeline_at(&self, n: u64) -> Result<Option<Sealed>, Error> {
        todo!()
    }

    /// Appends sealed spans as the messages `first`, `first + 1` and so on.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    pub async fn timeline_append(
        &self,
        first: u64,
        entries: &[TimelineEntry],
    ) -> Result<(), AppendError> {
        todo!()
    }
}
