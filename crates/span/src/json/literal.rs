//! Over-long integer literals.
//!
//! The JSON reader turns an integer that does not fit 64 bits into a double and forgets its digits. Where that
//! happened, the number is found again here, in the raw text, by its ordinal among all numbers.

use super::canonical::is_canonical_integer;

/// The first of the numbers `suspects` (ascending ordinals) in a well-formed document that is an integer literal
/// and not the canonical text of its double.
pub(crate) fn first_inexact(json: &str, suspects: &[usize]) -> Option<usize> {
    let mut suspects = suspects.iter().copied().peekable();
    for (ordinal, literal) in numbers(json).enumerate() {
        if suspects.next_if_eq(&ordinal).is_some()
            && !literal.contains(['.', 'e', 'E'])
            && !is_canonical_integer(literal)
        {
            return Some(ordinal);
        }
    }
    None
}

/// All number literals of a well-formed document, in order.
fn numbers(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            let (_, from) = rest.split_at(start);
            if let Some(text) = from.strip_prefix('"') {
                rest = after_string(text);
                continue;
            }
            let length = from
                .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                .unwrap_or(from.len());
            let (literal, after) = from.split_at(length);
            rest = after;
            return Some(literal);
        }
    })
}

/// What follows the closing quote of a string whose opening one was just read.
fn after_string(text: &str) -> &str {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}
