//! What the text formats have in common: one text per value, so that parsing and printing are inverse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tree::{NodeHash, SIZE_MAX};

/// An ASCII decimal without leading zeros or sign, up to [`SIZE_MAX`].
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok()?;
    (canonical && digits && number <= SIZE_MAX).then_some(number)
}

/// The bytes of padded standard base64 without stray bits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Padded standard base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// One hash a line, up to an empty line, and what follows it; nothing if a line is no hash or there are more
/// than a tree of any size needs.
pub(crate) fn hashes(mut text: &str) -> Option<(Vec<NodeHash>, &str)> {
    let mut hashes = Vec::new();
    loop {
        let (line, rest) = text.split_once('\n')?;
        if line.is_empty() {
            return Some((hashes, rest));
        }
        if hashes.len() == PATH_LINES_MAX {
            return None;
        }
        hashes.push(line.parse().ok()?);
        text = rest;
    }
}

/// The longest proof: a tree of [`SIZE_MAX`] leaves has 63 levels. C2SP's `tlog-witness` has the same limit.
const PATH_LINES_MAX: usize = 63;
