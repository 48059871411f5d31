//! C2SP's `tlog-witness`: what a witness answers. The call itself is a POST to `<prefix>/add-checkpoint`, and its body a
//! [`crate::ConsistencyProof`] from the head that the witness has cosigned last to the one that it is to cosign.

use crate::checkpoint::SignedCheckpoint;
use crate::line::decimal;
use crate::note::{
    self, NOTE_BYTES_MAX, Note, SignatureLine, Untrusted, VerifierKey, signature_lines,
};

/// The media type of an answer that names the size which the witness knows.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";
/// Longest answer, in bytes: as long as a note may be.
pub const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX;

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Longer than [`ANSWER_BYTES_MAX`], or not what its status and media type announce.
    #[error("answer of the witness is malformed")]
    Malformed,
    /// Its lines are no signatures.
    #[error("answer of the witness holds no signatures")]
    Signatures(#[from] note::Error),
    /// The witness's own signature is not among them, or does not verify.
    #[error("answer of the witness is not to be trusted")]
    Untrusted(#[from] Untrusted),
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: signatures, which [`cosignature`] verifies.
    Cosigned(Vec<SignatureLine>),
    /// 409: it has cosigned another size last. Asked again with a proof from there, it will agree.
    Knows {
        /// That size.
        size: u64,
    },
    /// 409 without a size: it has cosigned another root of this size. Somebody has forked the log.
    Forked,
    /// 422: the proof does not verify.
    BadProof,
    /// 403: it knows the log by other keys.
    UnknownKey,
    /// 404: it does not know the log.
    UnknownLog,
    /// Anything else.
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

impl Answer {
    /// Reads an HTTP response.
    pub fn read(status: u16, content_type: Option<&str>, body: &str) -> Result<Self, Unusable> {
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Unusable::Malformed);
        }
        match status {
            200 => Ok(Self::Cosigned(signature_lines(body)?)),
            409 if content_type.is_some_and(is_size) => body
                .strip_suffix('\n')
                .and_then(decimal)
                .map(|size| Self::Knows { size })
                .ok_or(Unusable::Malformed),
            409 => Ok(Self::Forked),
            422 => Ok(Self::BadProof),
            403 => Ok(Self::UnknownKey),
            404 => Ok(Self::UnknownLog),
            status => Ok(Self::Refused { status }),
        }
    }
}

/// Whether that is [`SIZE_CONTENT_TYPE`], with whatever parameters.
fn is_size(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(SIZE_CONTENT_TYPE)
}

/// The witness's own among the signatures that it answered, verified over the checkpoint, and when it was made, in
/// seconds since 1970. Those of keys that are not known are passed over.
pub fn cosignature(
    checkpoint: &SignedCheckpoint,
    lines: &[SignatureLine],
    witness: &VerifierKey,
) -> Result<(SignatureLine, u64), Unusable> {
    let line = lines.iter().find(|line| witness.is_named_by(line));
    let line = line.ok_or(Untrusted::NoKnownKey)?;
    let note = Note::new(checkpoint.note().text().clone(), line.clone());
    let verified = note.verify(std::slice::from_ref(witness))?;
    let at_s = verified.iter().find_map(|verified| verified.cosigned_at_s);
    Ok((line.clone(), at_s.ok_or(Untrusted::NoKnownKey)?))
}
