//! Signed heads on the bus: one message a tenant, each put there by someone who knew the one before (LED-8).

use std::future::IntoFuture;

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use logline_span::TenantId;

use crate::{
    Bus, CheckpointError, Error, Subject, publish::failure, stored::Stored, stream::CHECKPOINTS,
};

/// Heads fetched at once.
const PAGE: usize = 1000;

/// The newest signed head of a tenant, as it was published; whoever reads it verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedCheckpoint {
    /// Whose chain it is of.
    pub tenant: TenantId,
    /// Its number in the stream, which the next one is published after.
    pub seq: u64,
    /// The signed note.
    pub note: String,
}

impl PublishedCheckpoint {
    fn of(stored: Stored) -> Option<Self> {
        let Ok(Subject::Checkpoint { tenant }) = stored.subject.parse() else {
            return None;
        };
        Some(Self {
            tenant,
            seq: stored.seq,
            note: String::from_utf8_lossy(&stored.body).into_owned(),
        })
    }
}

impl Bus {
    /// The newest signed head of a tenant; none where there never was one.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn checkpoint(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<PublishedCheckpoint>, Error> {
        let subject = Subject::Checkpoint {
            tenant: tenant.clone(),
        };
        let request = serde_json::json!({ "multi_last": [subject.to_string()], "batch": 1 });
        let found = self.fetch_by(CHECKPOINTS, &request).await?;
        Ok(found.into_iter().find_map(PublishedCheckpoint::of))
    }

    /// The newest signed head of every tenant.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn checkpoints(&self) -> Result<Vec<PublishedCheckpoint>, Error> {
        let (mut heads, mut from) = (Vec::new(), 1);
        loop {
            let page = self.fetch(CHECKPOINTS, from, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(heads);
            };
            from = last.seq.saturating_add(1);
            heads.extend(page.into_iter().filter_map(PublishedCheckpoint::of));
        }
    }

    /// Publishes a tenant's signed head after the one with the number `after`, 0 where there is none; gives its number.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Stale`] where another head is the newest: read it before anything else is signed. After any other
    /// error the head may be there; publishing it again says so.
    pub async fn publish_checkpoint(
        &self,
        tenant: &TenantId,
        note: &str,
        after: u64,
    ) -> Result<u64, CheckpointError> {
        let subject = Subject::Checkpoint {
            tenant: tenant.clone(),
        }
        .to_string();
        let message = PublishMessage::build()
            .payload(note.to_owned().into())
            .expected_last_subject_sequence(after);
        let sent = self.inner.jetstream.send_publish(subject.clone(), message);
        let failed = |error: async_nats::jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::WrongLastSequence => CheckpointError::Stale,
            _ => CheckpointError::Bus(failure(error, &subject, note.len())),
        };
        let ack = sent.await.map_err(failed)?;
        let ack = ack.into_future().await.map_err(failed)?;
        if ack.duplicate {
            return Err(CheckpointError::Bus(Error::Duplicate));
        }
        Ok(ack.sequence)
    }
}
