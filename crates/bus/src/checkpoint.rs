//! The signed heads of the log (LED-8): of each tenant the newest, on a subject that only ever moves on.

use async_nats::{
    Request, StatusCode,
    jetstream::{context::PublishErrorKind, message::PublishMessage},
};
use logline_span::TenantId;

use crate::{Bus, Error, Subject, publish::failure, stored::Stored, stream::CHECKPOINTS};

/// The newest head of a tenant on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestCheckpoint {
    /// Number of its message, which the next head is published after.
    pub seq: u64,
    /// The signed note.
    pub note: String,
}

/// Why a head was not published.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another signer published one meanwhile.
    #[error("another head of this tenant was published meanwhile")]
    Overtaken,
    /// The bus failed: the head may be there all the same.
    #[error("the head could not be published")]
    Bus(#[from] Error),
}

impl Bus {
    /// A tenant's newest signed head; none where there is none yet.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn checkpoint(&self, tenant: &TenantId) -> Result<Option<NewestCheckpoint>, Error> {
        let subject = Subject::Checkpoint {
            tenant: tenant.clone(),
        };
        let asked = format!("$JS.API.DIRECT.GET.{CHECKPOINTS}.{subject}");
        let answer = self
            .inner
            .client
            .send_request(asked, Request::new())
            .await
            .map_err(|source| Error::client("reading a checkpoint")(source.into()))?;
        let status = answer.status;
        match Stored::of(answer) {
            Some(stored) => Ok(Some(NewestCheckpoint {
                seq: stored.seq,
                note: String::from_utf8_lossy(&stored.body).into_owned(),
            })),
            None if status == Some(StatusCode::NOT_FOUND) => Ok(None),
            None => Err(Error::NoStream {
                subject: subject.to_string(),
            }),
        }
    }

    /// Publishes a tenant's next head after the one with that number (0 where there is none); gives its own number.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Overtaken`] where another head is the newest.
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
        let failed = |error: async_nats::jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::WrongLastSequence => CheckpointError::Overtaken,
            _ => failure(error, &subject, note.len()).into(),
        };
        let sent = self
            .inner
            .jetstream
            .send_publish(subject.clone(), message)
            .await
            .map_err(failed)?;
        Ok(sent.await.map_err(failed)?.sequence)
    }
}
