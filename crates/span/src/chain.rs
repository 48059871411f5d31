//! The chain of one tenant: a pure function of the messages, their order and times (LED-6, LED-7).

use crate::envelope::Span;
use crate::hash::Hash;
use crate::ids::{Position, Principal};
use crate::sealed::Sealed;
use crate::signature::{PublicKey, Signature, verify_content};
use crate::time::Timestamp;

const CHAIN_DOMAIN: &[u8] = b"logline-chain-v1\0";
const GENESIS_DOMAIN: &[u8] = b"logline-genesis-v1\0";

/// Length of what `curr_hash` covers.
pub const BODY_BYTES: usize = 208;

/// The end of a tenant's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last sealed span; 0 before the first.
    pub position: u64,
    /// Its `curr_hash`; before the first, the hash of the origin.
    pub hash: Hash,
    /// Its `received_at`; before the first, the earliest instant.
    pub received_at: Timestamp,
}

impl Head {
    /// The head of a chain without spans.
    pub fn genesis(origin: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(GENESIS_DOMAIN).update(origin.as_bytes());
        Self {
            position: 0,
            hash: finish(&hasher),
            received_at: Timestamp::from_micros(i64::MIN),
        }
    }

    /// When the next span counts as received: `bus_time`, but at least 1 µs after the predecessor.
    #[must_use]
    pub fn next_received_at(&self, bus_time: Timestamp) -> Timestamp {
        bus_time.max(Timestamp::from_micros(
            self.received_at.as_micros().saturating_add(1),
        ))
    }

    /// Gives `span` the next place. `content_hash` is the span's own, which the caller has computed already.
    ///
    /// `received_at` is [`Self::next_received_at`].
    ///
    /// # Panics
    /// When the chain is full, after 2^53-1 spans.
    pub fn seal(
        &mut self,
        span: Span,
        content_hash: Hash,
        published_by: Principal,
        bus_time: Timestamp,
    ) -> Sealed {
        let received_at = self.next_received_at(bus_time);
        let position = Position::new(self.position.saturating_add(1)).unwrap_or(Position::MAX);
        assert!(
            position.get() > self.position,
            "INVARIANT (chain order): positions rise by one"
        );
        let mut sealed = Sealed {
            span,
            position,
            received_at,
            published_by,
            prev_hash: self.hash,
            curr_hash: self.hash,
        };
        sealed.curr_hash = sealed.expected_hash(content_hash);
        *self = Self {
            position: position.get(),
            hash: sealed.curr_hash,
            received_at,
        };
        sealed
    }
}

/// Why a sealed span is not the next one of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlinked {
    /// Another position should come.
    #[error("position {wanted} should come here")]
    Gap {
        /// The position that should come.
        wanted: u64,
    },
    /// It does not name its predecessor.
    #[error("prev_hash is not the hash of the span before")]
    Link,
    /// Its author's signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// Its hash is not that of its fields.
    #[error("curr_hash is not the hash of the fields")]
    Content,
}

impl Head {
    /// Takes a sealed span for the next one, if it is; gives its content hash, which that needed.
    ///
    /// # Errors
    /// [`Unlinked`], and the head stays where it was.
    pub fn follow(&mut self, sealed: &Sealed) -> Result<Hash, Unlinked> {
        let span = &sealed.span;
        let wanted = self.position.saturating_add(1);
        if sealed.position.get() != wanted {
            return Err(Unlinked::Gap { wanted });
        }
        if sealed.prev_hash != self.hash {
            return Err(Unlinked::Link);
        }
        let content = span.content_hash();
        let is_signed = match (&span.signature, &span.public_key) {
            (None, None) => true,
            (Some(signature), Some(key)) => verify_content(key, &content, signature),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_signed {
            return Err(Unlinked::Signature);
        }
        if sealed.expected_hash(content) != sealed.curr_hash {
            return Err(Unlinked::Content);
        }
        *self = Self {
            position: wanted,
            hash: sealed.curr_hash,
            received_at: sealed.received_at,
        };
        Ok(content)
    }
}

/// The 208 bytes that `curr_hash` covers: position, `received_at`, previous hash, content hash, signature, key,
/// hash of the publisher's name; numbers big-endian, what is absent as zero bytes.
pub fn chain_body(sealed: &Sealed, content_hash: &Hash) -> [u8; BODY_BYTES] {
    let mut body = [0; BODY_BYTES];
    let mut rest = body.as_mut_slice();
    let signature = sealed
        .span
        .signature
        .map_or([0; 64], |signature| *signature.as_bytes());
    let public_key = sealed
        .span
        .public_key
        .map_or([0; 32], |key| *key.as_bytes());
    for part in [
        sealed.position.get().to_be_bytes().as_slice(),
        &sealed.received_at.as_micros().to_be_bytes(),
        sealed.prev_hash.as_bytes(),
        content_hash.as_bytes(),
        &signature,
        &public_key,
        Hash::of(sealed.published_by.as_str().as_bytes()).as_bytes(),
    ] {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    body
}

/// The `curr_hash` of a link with that body.
pub fn body_hash(body: &[u8; BODY_BYTES]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CHAIN_DOMAIN).update(body);
    finish(&hasher)
}

impl Sealed {
    /// What `curr_hash` must be for a span with that content.
    pub fn expected_hash(&self, content_hash: Hash) -> Hash {
        body_hash(&chain_body(self, &content_hash))
    }
}

/// What a link of the chain says, read back from its body: all that is known of a span without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its place in the tenant's chain.
    pub position: Position,
    /// When the bus took it.
    pub received_at: Timestamp,
    /// `curr_hash` of the predecessor.
    pub prev_hash: Hash,
    /// The hash of the span's canonical bytes.
    pub content_hash: Hash,
    /// The author's signature, unless all its bytes are zero.
    pub signature: Option<Signature>,
    /// The author's key, unless all its bytes are zero.
    pub public_key: Option<PublicKey>,
    /// The hash of the publisher's name.
    pub published_by: Hash,
    /// The hash of the body, which the next link names.
    pub curr_hash: Hash,
}

impl Link {
    /// Reads what [`chain_body`] wrote; nothing if the first bytes are no position.
    pub fn read(body: &[u8; BODY_BYTES]) -> Option<Self> {
        let mut rest = body.as_slice();
        let signature = |bytes: [u8; 64]| (bytes != [0; 64]).then(|| Signature::from_bytes(bytes));
        let public_key = |bytes: [u8; 32]| (bytes != [0; 32]).then(|| PublicKey::from_bytes(bytes));
        Some(Self {
            position: Position::new(u64::from_be_bytes(take(&mut rest)?))?,
            received_at: Timestamp::from_micros(i64::from_be_bytes(take(&mut rest)?)),
            prev_hash: Hash::from_bytes(take(&mut rest)?),
            content_hash: Hash::from_bytes(take(&mut rest)?),
            signature: signature(take(&mut rest)?),
            public_key: public_key(take(&mut rest)?),
            published_by: Hash::from_bytes(take(&mut rest)?),
            curr_hash: body_hash(body),
        })
    }
}

/// The next N bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

fn finish(hasher: &blake3::Hasher) -> Hash {
    Hash::from_bytes(*hasher.finalize().as_bytes())
}
