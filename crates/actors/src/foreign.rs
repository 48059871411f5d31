//! Content that others made, as it may stand in a span of the system (EXE-7).
//!
//! What breaks SPAN-2 is replaced by its digest, length and the refusal's code: what happened is always recorded.

use logline_span::{Code, Hash, Json};
use serde_json::{Value, json};

/// Longest name that an execution repeats; the function itself holds the whole.
const TITLE_CHARS_MAX: usize = 256;

/// The value, or what stands for it where it breaks SPAN-2: text by its own bytes, anything else by its JSON.
pub(crate) fn json(value: &Value) -> Json {
    Json::from_value(value).unwrap_or_else(|refusal| match value.as_str() {
        Some(text) => stand_in(text.as_bytes(), refusal.code),
        None => stand_in(value.to_string().as_bytes(), refusal.code),
    })
}

/// Each element checked by itself, so that one bad line does not cost the others.
pub(crate) fn each(list: Value) -> Value {
    match list {
        Value::Array(elements) => Value::Array(
            elements
                .into_iter()
                .map(|element| json(&element).to_value())
                .collect(),
        ),
        other => other,
    }
}

/// A field's content: `null` is its absence (SPAN-6).
pub(crate) fn content(json: Json) -> Option<Json> {
    (json.as_str() != "null").then_some(json)
}

/// A name, cut to a length that every reader can show.
pub(crate) fn title(name: &str) -> String {
    name.chars().take(TITLE_CHARS_MAX).collect()
}

/// Digest, length and code in place of the content.
pub(crate) fn stand_in(content: &[u8], code: Code) -> Json {
    let digest = Hash::of(content);
    let stand_in = json!({ "code": code, "digest": digest, "length": content.len() });
    Json::from_value(&stand_in).unwrap_or_else(|_| null())
}

/// The JSON value `null`.
#[expect(clippy::expect_used, reason = "null is JSON")]
pub(crate) fn null() -> Json {
    Json::parse(b"null").expect("null is JSON")
}
