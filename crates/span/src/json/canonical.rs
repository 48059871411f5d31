//! The pieces of RFC 8785: text, numbers, the order of keys.

use std::cmp::Ordering;

/// Integers up to here are exact in a double, and so are all smaller ones (RFC 7493).
pub(crate) const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Where canonical text goes: a `String` while reading, bytes while hashing.
pub(crate) trait Sink {
    /// Appends `text`.
    fn put(&mut self, text: &str);
}

impl Sink for String {
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Appends `text` as a JSON string with its quotes. `false` where it holds U+0000, which no span may.
pub(crate) fn put_text(sink: &mut impl Sink, text: &str) -> bool {
    sink.put("\"");
    let (mut rest, mut whole) = (text, true);
    while let Some(at) = rest.bytes().position(needs_escape) {
        // The byte found is ASCII, so both cuts are character boundaries.
        let (plain, from) = rest.split_at(at);
        let (special, after) = from.split_at(1);
        sink.put(plain);
        match special {
            "\"" => sink.put("\\\""),
            "\\" => sink.put("\\\\"),
            "\u{8}" => sink.put("\\b"),
            "\t" => sink.put("\\t"),
            "\n" => sink.put("\\n"),
            "\u{c}" => sink.put("\\f"),
            "\r" => sink.put("\\r"),
            control => {
                whole &= control != "\0";
                sink.put("\\u00");
                sink.put(crate::hash::hex_text(control.as_bytes(), &mut [0; 2]));
            }
        }
        rest = after;
    }
    sink.put(rest);
    sink.put("\"");
    whole
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a finite double as ECMAScript prints it.
pub(crate) fn put_double(sink: &mut impl Sink, value: f64) {
    sink.put(ryu_js::Buffer::new().format_finite(value));
}

/// Whether an integer literal is the canonical text of the double that it denotes (SPAN-2).
pub(crate) fn is_canonical_integer(literal: &str) -> bool {
    let value: f64 = literal.parse().unwrap_or(f64::NAN);
    value.is_finite() && ryu_js::Buffer::new().format_finite(value) == literal
}

/// The order of two keys, given as canonical JSON strings without their quotes: by UTF-16 code units of the text.
pub(crate) fn key_order(left: &str, right: &str) -> Ordering {
    if left.contains('\\') || right.contains('\\') {
        let decoded =
            |key: &str| serde_json::from_str::<String>(&format!("\"{key}\"")).unwrap_or_default();
        return utf16_order(&decoded(left), &decoded(right));
    }
    utf16_order(left, right)
}

/// Byte order of UTF-8 is the order of code points, in which U+E000 to U+FFFF come before everything beyond;
/// in UTF-16 they come after, as surrogates are lower.
fn utf16_order(left: &str, right: &str) -> Ordering {
    let rank = |byte: u8| {
        if byte == 0xee || byte == 0xef {
            byte + 0x10
        } else {
            byte
        }
    };
    match left
        .bytes()
        .zip(right.bytes())
        .find(|(left, right)| left != right)
    {
        Some((left, right)) => rank(left).cmp(&rank(right)),
        None => left.len().cmp(&right.len()),
    }
}
