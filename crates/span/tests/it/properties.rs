//! Properties of generated values, spans and bytes.

use logline_span::{
    Code, Draft, Encoding, Head, Json, Limits, Sealed, Seq, SigningKey, SpanId, Status, Timestamp,
    TraceId, Visibility, check,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::{arrive, canonical, noon};

const SAFE: i64 = (1 << 53) - 1;

/// Characters at which escapes, encodings and the order of keys change.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        3 => proptest::char::range('a', 'f'),
        1 => proptest::char::range('\u{1}', '\u{7f}'),
        1 => proptest::sample::select(vec![
            '"', '\\', '/', '\u{80}', '\u{7ff}', '\u{800}', '\u{2028}', '\u{d7ff}', '\u{e000}', '\u{ffff}',
            '\u{10000}', '\u{10ffff}',
        ]),
        1 => any::<char>().prop_filter("U+0000 is refused", |c| *c != '\0'),
    ]
}

fn characters() -> impl Strategy<Value = String> {
    vec(character(), 0..8).prop_map(String::from_iter)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-SAFE..=SAFE).prop_map(Value::from),
        (-100_i64..100).prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number)
            .map(Value::Number)),
        (-1e6..1e6_f64).prop_filter_map("finite", |number| Number::from_f64(number)
            .map(Value::Number)),
        (0_i32..70).prop_filter_map("finite", |power| Number::from_f64(2_f64.powi(power))
            .map(Value::Number)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        characters().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(characters(), inner, 0..6)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn json() -> impl Strategy<Value = Option<Json>> {
    option::of(value().prop_filter("null is absence", |value| !value.is_null()))
        .prop_map(|value| value.map(|value| Json::from_value(&value).unwrap()))
}

fn id() -> impl Strategy<Value = SpanId> {
    (1_u128..).prop_map(|bits| SpanId::from_uuid(Uuid::from_u128(bits)))
}

fn draft() -> impl Strategy<Value = Draft> {
    let texts = (
        characters(),
        option::of(characters()),
        option::of(characters()),
        option::of(characters()),
    );
    let links = (
        option::of(id()),
        option::of(id()),
        vec(id(), 0..4),
        option::of(id()),
    );
    let tokens = (
        proptest::sample::select(vec![
            None,
            Some(Visibility::Private),
            Some(Visibility::Tenant),
            Some(Visibility::Public),
        ]),
        option::of(proptest::sample::select(vec![
            "scheduled",
            "needsReview",
            "a-b_c",
        ])),
        option::of(any::<bool>()),
        option::of(0..=Seq::MAX.get()),
        option::of(0..=Seq::MAX.get()),
    );
    let jsons = (json(), json(), json());
    (
        texts,
        links,
        tokens,
        jsons,
        option::of(0..noon().as_micros()),
    )
        .prop_map(
            |(
                (who, did, name, code),
                (id, parent_id, related_to, caused_by),
                tokens,
                jsons,
                at,
            )| Draft {
                id,
                entity_type: Some("law.case_2".parse().unwrap()),
                who: Some(format!("w{who}")),
                did,
                this: Some("door".to_owned()),
                at: at.map(Timestamp::from_micros),
                parent_id,
                related_to,
                caused_by,
                trace_id: parent_id.map(TraceId::of),
                visibility: tokens.0,
                status: tokens.1.map(|text| text.parse::<Status>().unwrap()),
                is_deleted: tokens.2,
                name,
                code,
                input: jsons.0,
                error: jsons.1,
                metadata: jsons.2,
                seq: tokens.3.and_then(Seq::new),
                duration_ms: tokens.4,
                ..Draft::default()
            },
        )
}

/// JSON as a careless author writes it: keys in reverse, white space, every non-ASCII character escaped.
fn careless(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().rev().enumerate() {
                out.push_str(if index > 0 { " ,\n" } else { "\t" });
                careless(&Value::from(key.as_str()), out);
                out.push_str(" : ");
                careless(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { " " });
                careless(item, out);
            }
            out.push(']');
        }
        Value::String(text) => {
            out.push('"');
            for unit in text.encode_utf16() {
                out.push_str(&format!("\\u{unit:04X}"));
            }
            out.push('"');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// MessagePack has doubles for what JSON writes as a large integer (SPAN-2).
fn packable(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none_or(|number| number.abs() > SAFE) => {
            Value::from(number.as_f64().unwrap())
        }
        Value::Array(items) => items.into_iter().map(packable).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key, packable(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn parse(bytes: &[u8], encoding: Encoding) -> Draft {
    Draft::parse(bytes, encoding, &Limits::STANDARD).unwrap()
}

proptest! {
    /// SPAN-6
    #[test]
    fn canonical_text_is_the_librarys(value in value()) {
        let library = serde_json_canonicalizer::to_string(&value).unwrap();
        let json = Json::from_value(&value).unwrap();
        prop_assert_eq!(json.as_str(), &library);
        let mut text = String::new();
        careless(&value, &mut text);
        let json = Json::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(json.as_str(), &library);
        prop_assert_eq!(Json::parse(library.as_bytes()).unwrap(), json, "canonical text is its own canonical text");
    }

    /// SPAN-4: both encodings give the same draft, and so the same canonical bytes.
    #[test]
    fn reading_what_was_printed_gives_the_same_draft(draft in draft()) {
        let json = draft.to_json();
        prop_assert_eq!(&parse(json.as_bytes(), Encoding::Json), &draft);
        let value: Value = serde_json::from_str(&json).unwrap();
        let packed = rmp_serde::to_vec_named(&packable(value)).unwrap();
        prop_assert_eq!(&parse(&packed, Encoding::MessagePack), &draft);
    }

    /// SPAN-8, as far as it goes without a database.
    #[test]
    fn a_sealed_span_survives_its_json(draft in draft(), millis in 0_i64..2_000_000_000_000) {
        let span = arrive(draft, "alice", None).unwrap();
        let text = canonical(&span);
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&value).unwrap(), &text);

        let content_hash = span.content_hash();
        let mut head = Head::genesis("origin");
        let bus_time = Timestamp::from_micros(millis * 1000);
        let sealed = head.seal(span, content_hash, "alice".parse().unwrap(), bus_time);
        let json = sealed.to_json();
        let value: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&value).unwrap(), &json);
        let again = Sealed::from_json(json.as_bytes()).unwrap();
        prop_assert_eq!(&again, &sealed);
        prop_assert_eq!(again.span.content_hash(), content_hash);
        let outcome = check::check(json.as_bytes(), Encoding::Json, &Limits::STANDARD);
        prop_assert!(outcome.is_success(), "{outcome}");
    }

    /// SPAN-7: a signature holds for the draft that was signed and for no other.
    #[test]
    fn a_signed_draft_is_accepted_until_it_is_changed(draft in draft(), other in characters()) {
        let mut draft = draft;
        draft.id.get_or_insert("0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap());
        draft.at.get_or_insert(noon());
        draft.trace_id.get_or_insert("4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap());
        draft.tenant_id = Some("acme".parse().unwrap());
        draft.owner_id = Some("alice".parse().unwrap());
        draft.sign(&SigningKey::from_seed(&[3; 32])).unwrap();
        let sent = parse(draft.to_json().as_bytes(), Encoding::Json);
        prop_assert!(arrive(sent.clone(), "alice", None).is_ok());
        let changed = Draft { did: Some(format!("other {other}")), ..sent };
        prop_assert_eq!(arrive(changed, "alice", None).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let _ = Draft::parse(&bytes, encoding, &Limits::STANDARD);
            let _ = check::check(&bytes, encoding, &Limits::STANDARD).to_string();
        }
        let _ = Json::parse(&bytes);
        let _ = Sealed::from_json(&bytes);
    }

    /// Bytes that are nearly right reach deeper than random ones.
    #[test]
    fn damaged_messages_are_read_or_refused(draft in draft(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let json = draft.to_json();
        let value: Value = serde_json::from_str(&json).unwrap();
        let packed = rmp_serde::to_vec_named(&packable(value)).unwrap();
        for (mut bytes, encoding) in [(json.into_bytes(), Encoding::Json), (packed, Encoding::MessagePack)] {
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if let Ok(draft) = Draft::parse(&bytes, encoding, &Limits::STANDARD) {
                let again = parse(draft.to_json().as_bytes(), Encoding::Json);
                prop_assert_eq!(again.content_hash(), draft.content_hash());
            }
            bytes.truncate(place);
            prop_assert!(Draft::parse(&bytes, encoding, &Limits::STANDARD).is_err());
        }
    }

    #[test]
    fn text_that_is_read_as_json_has_one_canonical_form(text in ".{0,40}") {
        if let Ok(json) = Json::parse(text.as_bytes()) {
            prop_assert_eq!(Json::parse(json.as_str().as_bytes()).unwrap(), json);
        }
    }

    #[test]
    fn times_are_printed_and_read_back(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
        let time = Timestamp::from_micros(micros);
        prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }

    /// LED-6, LED-7
    #[test]
    fn sealing_again_gives_the_same_chain_and_time_only_rises(
        drafts in vec(draft(), 1..6),
        times in vec(0_i64..1000, 6),
    ) {
        let spans: Vec<_> = drafts.into_iter().map(|draft| arrive(draft, "alice", None).unwrap()).collect();
        let seal = || {
            let mut head = Head::genesis("origin");
            let sealed: Vec<_> = spans
                .iter()
                .zip(&times)
                .map(|(span, time)| {
                    let publisher = "alice".parse().unwrap();
                    head.seal(span.clone(), span.content_hash(), publisher, Timestamp::from_micros(*time))
                })
                .collect();
            (head, sealed)
        };
        let (head, sealed) = seal();
        prop_assert_eq!(&(head, sealed.clone()), &seal());
        for pair in sealed.windows(2) {
            prop_assert!(pair[0].received_at < pair[1].received_at);
            prop_assert_eq!(pair[0].curr_hash, pair[1].prev_hash);
            prop_assert_eq!(pair[0].position.get() + 1, pair[1].position.get());
        }
    }
}

/// Canonical text depends on these features of the JSON library, which any crate of the build could switch.
#[test]
fn the_json_library_sorts_keys_and_reads_doubles_exactly() {
    let value: Value = serde_json::from_str(r#"{"b":1e2,"a":0}"#).unwrap();
    assert_eq!(value.to_string(), r#"{"a":0,"b":100.0}"#);
    let exact: f64 = serde_json::from_str("5.0e-324").unwrap();
    assert_eq!(exact.to_bits(), 1);
    assert_eq!(
        Json::parse(b"1.00000000000000011102230246251566")
            .unwrap()
            .as_str(),
        "1.0000000000000002"
    );
}
