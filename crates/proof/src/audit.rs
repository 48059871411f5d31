//! A whole log against its signed head (LED-10): span after span as they were sealed, without database or bus.

use logline_span::{Head, Sealed, chain::Unlinked};

use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::inclusion::{Policy, Unproven};
use crate::tree::{Frontier, NodeHash};

/// Why a log does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The span is another tenant's.
    #[error("the span is not of this log")]
    Foreign,
    /// A position is missing, or comes again.
    #[error("position {wanted} is missing")]
    Gap {
        /// The position that should be here.
        wanted: u64,
    },
    /// It does not follow the span before it.
    #[error("prev_hash is not the curr_hash of the span before")]
    Link,
    /// The values do not give its hash.
    #[error("the values do not give curr_hash")]
    Content,
    /// The author's signature does not fit.
    #[error("the signature does not fit the content and the key")]
    Signature,
    /// The head is not one that may be believed.
    #[error("the head is not to be trusted")]
    Untrusted(#[from] Unproven),
    /// The head is of another number of spans, or of others.
    #[error("the spans lead to another head than the one that was signed")]
    Head,
}

impl From<Unlinked> for Broken {
    fn from(unlinked: Unlinked) -> Self {
        match unlinked {
            Unlinked::Gap { wanted } => Self::Gap { wanted },
            Unlinked::Link => Self::Link,
            Unlinked::Signature => Self::Signature,
            Unlinked::Content => Self::Content,
        }
    }
}

/// A log under way: what the next span must follow.
///
/// ```
/// use logline_proof::audit::{Audit, Broken};
/// use logline_proof::{Checkpoint, Frontier, Policy, VerifierKey};
/// # use logline_proof::Algorithm;
/// # let key = logline_span::SigningKey::from_seed(&[7; 32]);
/// let origin: logline_proof::Origin = "log.example/acme".parse().unwrap();
/// let head = Checkpoint::new(origin.clone(), Frontier::new().head()).sign(&key).unwrap();
/// let name = origin.as_str().parse().unwrap();
/// let policy = Policy::log_alone(VerifierKey::new(name, Algorithm::Ed25519, key.public_key()));
/// assert_eq!(Audit::new(&origin).finish(&head, &policy), Ok(0));
/// ```
pub struct Audit {
    tenant: String,
    head: Head,
    tree: Frontier,
}

impl Audit {
    /// Begins before the first span of the log with that origin.
    pub fn new(origin: &Origin) -> Self {
        let (_, tenant) = origin.as_str().rsplit_once('/').unwrap_or_default();
        Self {
            tenant: tenant.to_owned(),
            head: Head::genesis(origin.as_str()),
            tree: Frontier::new(),
        }
    }

    /// Takes the next span.
    pub fn step(&mut self, sealed: &Sealed) -> Result<(), Broken> {
        let span = &sealed.span;
        if span.tenant_id.as_str() != self.tenant {
            return Err(Broken::Foreign);
        }
        self.head.follow(sealed)?;
        self.tree.append(NodeHash::of_span(&sealed.curr_hash));
        Ok(())
    }

    /// Compares what the spans led to with a signed head; gives how many they were.
    pub fn finish(self, signed: &SignedCheckpoint, policy: &Policy) -> Result<u64, Broken> {
        let checkpoint = policy.trust(signed)?;
        if checkpoint.head != self.tree.head() {
            return Err(Broken::Head);
        }
        Ok(checkpoint.head.size)
    }
}
