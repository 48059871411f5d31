//! Receipts: what a publisher is told, and where it may be told (BUS-2).

mod inbox;

use bytes::Bytes;
use logline_span::{Code, Hash, Position, Refusal, Seq, SpanId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::sending;
pub(crate) use inbox::{Inbox, Place, allowed};

/// The longest pointer and sentence in a receipt or header: a field's name may be as long as a message.
const TEXT_BYTES_MAX: usize = 1024;

/// The answer to a published span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The span is sealed.
    Sealed {
        /// Its id.
        id: SpanId,
        /// Its version.
        seq: Seq,
        /// When it happened, as sealed.
        at: Timestamp,
        /// Its place in the tenant's chain.
        position: Position,
        /// The hash that chains it.
        curr_hash: Hash,
        /// Whether an earlier message had sealed it already.
        duplicate: bool,
    },
    /// The span was refused.
    Refused(Refusal),
}

/// A receipt as it travels: the members of either kind, in the order of BUS-2.
#[derive(Serialize, Deserialize)]
struct Wire {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curr_hash: Option<Hash>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The bytes are not a receipt of this release.
#[derive(Debug, thiserror::Error)]
#[error("not a receipt")]
pub struct NotAReceipt;

impl Receipt {
    /// The receipt as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let wire = match self {
            Self::Sealed {
                id,
                seq,
                at,
                position,
                curr_hash,
                duplicate,
            } => Wire {
                success: true,
                id: Some(*id),
                seq: Some(*seq),
                at: Some(*at),
                position: Some(*position),
                curr_hash: Some(*curr_hash),
                duplicate: *duplicate,
                code: None,
                pointer: None,
                detail: None,
            },
            Self::Refused(refusal) => Wire {
                success: false,
                id: None,
                seq: None,
                at: None,
                position: None,
                curr_hash: None,
                duplicate: false,
                code: Some(refusal.code),
                pointer: Some(shortened(&refusal.pointer).to_owned()),
                detail: Some(shortened(&refusal.detail).to_owned()),
            },
        };
        // Text, numbers and booleans alone: this cannot fail.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what [`Receipt::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// [`NotAReceipt`], where a member is missing, malformed or unknown to this release.
    pub fn from_json(bytes: &[u8]) -> Result<Self, NotAReceipt> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| NotAReceipt)?;
        if wire.success {
            Ok(Self::Sealed {
                id: wire.id.ok_or(NotAReceipt)?,
                seq: wire.seq.ok_or(NotAReceipt)?,
                at: wire.at.ok_or(NotAReceipt)?,
                position: wire.position.ok_or(NotAReceipt)?,
                curr_hash: wire.curr_hash.ok_or(NotAReceipt)?,
                duplicate: wire.duplicate,
            })
        } else {
            let refusal = Refusal::new(
                wire.code.ok_or(NotAReceipt)?,
                wire.detail.ok_or(NotAReceipt)?,
            );
            Ok(Self::Refused(refusal.at(wire.pointer.ok_or(NotAReceipt)?)))
        }
    }
}

/// As much of the text as a receipt or header carries.
pub(crate) fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or(text)
}

impl crate::Bus {
    /// Sends a receipt to an inbox which [`Incoming::receipt`](crate::Incoming) named. Nobody need listen there.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn answer(&self, reply: &str, receipt: &Receipt) -> Result<(), crate::Error> {
        self.inner
            .client
            .publish(reply.to_owned(), Bytes::from(receipt.to_json()))
            .await
            .map_err(sending("sending a receipt"))
    }
}
