//! The published vectors (`crates/span/vectors/`): added, never edited.
//! They were made by another implementation, the Python of `docs/verify.md`.

use logline_span::chain::{Link, chain_body};
use logline_span::signature::verify_content;
use logline_span::{Draft, Encoding, Hash, Head, Limits, Refusal, Sealed, SigningKey, Span};
use serde_json::Value;

use crate::arrive;

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap()
}

/// The message of a vector and its encoding.
fn message(vector: &Value) -> (Vec<u8>, Encoding) {
    let encoding = if vector["encoding"] == "msgpack" {
        Encoding::MessagePack
    } else {
        Encoding::Json
    };
    let bytes = match vector["input_hex"].as_str() {
        Some(digits) => hex::decode(digits).unwrap(),
        None => {
            let fill = "x".repeat(vector["fill"].as_u64().unwrap_or(0) as usize);
            text(vector, "input").replace("{FILL}", &fill).into_bytes()
        }
    };
    (bytes, encoding)
}

#[test]
fn canonical_forms_and_hashes_are_the_published_ones() {
    for vector in read("canonical.json")["vectors"].as_array().unwrap() {
        let (bytes, encoding) = message(vector);
        let draft = Draft::parse(&bytes, encoding, &Limits::STANDARD).unwrap();
        let mut canonical = Vec::new();
        draft.canonical(&mut canonical);
        assert_eq!(
            String::from_utf8(canonical).unwrap(),
            text(vector, "canonical"),
            "{}",
            vector["name"]
        );
        assert_eq!(
            draft.content_hash().to_string(),
            text(vector, "content_hash"),
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn the_signature_is_the_published_one() {
    let vector = read("signature.json");
    let key = SigningKey::from_hex(text(&vector, "seed")).unwrap();
    assert_eq!(key.public_key().to_string(), text(&vector, "public_key"));
    let hash: Hash = text(&vector, "content_hash").parse().unwrap();
    let signature = key.sign_content(&hash);
    assert_eq!(signature.to_string(), text(&vector, "signature"));
    assert!(verify_content(&key.public_key(), &hash, &signature));

    let draft = Draft::parse(
        vector["span"].to_string().as_bytes(),
        Encoding::Json,
        &Limits::STANDARD,
    )
    .unwrap();
    let span = arrive(draft, "alice", None).unwrap();
    assert_eq!(crate::canonical(&span), text(&vector, "canonical"));
    assert_eq!(span.content_hash(), hash);
}

#[test]
fn led_6_the_chain_is_the_published_one() {
    let vector = read("chain.json");
    let mut head = Head::genesis(text(&vector, "origin"));
    let (links, spans) = (
        vector["links"].as_array().unwrap(),
        vector["spans"].as_array().unwrap(),
    );
    assert_eq!((links.len(), spans.len()), (3, 3));
    for (link, published) in links.iter().zip(spans) {
        let expected = Sealed::from_json(published.to_string().as_bytes()).unwrap();
        let content_hash = expected.span.content_hash();
        assert_eq!(content_hash.to_string(), text(link, "content_hash"));
        assert_eq!(
            hex::encode(chain_body(&expected, &content_hash)),
            text(link, "body")
        );
        assert_eq!(expected.expected_hash(content_hash), expected.curr_hash);
        let read = Link::read(&chain_body(&expected, &content_hash)).unwrap();
        assert_eq!(
            (read.position, read.received_at, read.prev_hash),
            (expected.position, expected.received_at, expected.prev_hash)
        );
        assert_eq!(
            (read.content_hash, read.curr_hash),
            (content_hash, expected.curr_hash)
        );
        assert_eq!(
            (read.signature, read.public_key, read.published_by),
            (
                expected.span.signature,
                expected.span.public_key,
                Hash::of(expected.published_by.as_str().as_bytes())
            )
        );

        let span: Span = expected.span.clone();
        let sealed = head.seal(
            span,
            content_hash,
            expected.published_by.clone(),
            text(link, "bus_time").parse().unwrap(),
        );
        assert_eq!(sealed, expected);
        let published = serde_json_canonicalizer::to_string(published).unwrap();
        assert_eq!(
            sealed.to_json(),
            published,
            "all fields, in canonical order"
        );
    }
}

#[test]
fn refusals_have_the_published_code_and_pointer() {
    for vector in read("refusals.json")["vectors"].as_array().unwrap() {
        let (bytes, encoding) = message(vector);
        let refusal: Refusal = Draft::parse(&bytes, encoding, &Limits::STANDARD)
            .and_then(|draft| {
                arrive(
                    draft,
                    text(vector, "principal"),
                    vector["entity_type"].as_str(),
                )
            })
            .unwrap_err();
        let got = (refusal.code.as_str(), refusal.pointer.as_str());
        assert_eq!(
            got,
            (text(vector, "code"), text(vector, "pointer")),
            "{}: {}",
            vector["name"],
            refusal.detail
        );
    }
}
