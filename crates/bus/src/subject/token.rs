//! One token of an address: percent-encoding in exactly one way.

use std::{borrow::Cow, fmt, str::FromStr};

/// Longest text of a [`Token`] in bytes, as for principals: encoded three times over it fits a subject.
const BYTES_MAX: usize = 256;

/// Any text that names something in an address: not empty, at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Box<str>);

/// The text is empty or longer than 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token holds 1 to {BYTES_MAX} bytes")]
pub struct TokenError;

impl Token {
    /// The text, not encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn encoded(&self) -> Cow<'_, str> {
        encoded(&self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() || text.len() > BYTES_MAX {
            return Err(TokenError);
        }
        Ok(Self(text.into()))
    }
}

fn needs_encoding(letter: char) -> bool {
    matches!(letter, '.' | '*' | '>' | '%') || letter.is_whitespace() || letter.is_control()
}

/// The canonical token for a text. A lone `_` is encoded, because that token stands for none.
pub(crate) fn encoded(text: &str) -> Cow<'_, str> {
    if text == super::NONE {
        return Cow::Borrowed("%5F");
    }
    if !text.contains(needs_encoding) {
        return Cow::Borrowed(text);
    }
    let mut token = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if needs_encoding(letter) {
            let mut utf8 = [0; 4];
            for byte in letter.encode_utf8(&mut utf8).bytes() {
                token.push('%');
                token.push(hex_digit(byte >> 4));
                token.push(hex_digit(byte & 0xf));
            }
        } else {
            token.push(letter);
        }
    }
    Cow::Owned(token)
}

/// The text of a token; `None` where the token is not that text's canonical encoding.
pub(crate) fn decoded(token: &str) -> Option<Cow<'_, str>> {
    let text = if token.contains('%') {
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                bytes.push((hex_value(rest.next()?)? << 4) | hex_value(rest.next()?)?);
            } else {
                bytes.push(byte);
            }
        }
        Cow::Owned(String::from_utf8(bytes).ok()?)
    } else {
        Cow::Borrowed(token)
    };
    (encoded(&text) == token).then_some(text)
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 {
        b'0' + nibble
    } else {
        b'A' + nibble - 10
    })
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
