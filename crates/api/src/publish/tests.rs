use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use expect_test::{Expect, expect};
use logline_span::{Encoding, Limits, Reader};

use super::{
    body::{Entries, Form, entries},
    entry::Publication,
};
use crate::config::Config;

fn config() -> Config {
    Config {
        span_bytes_max: 20,
        batch_bytes_max: 100,
        batch_entries_max: 3,
        ..Config::STANDARD
    }
}

fn check(form: Form, body: &str, expected: Expect) {
    let body = Bytes::from(body.to_owned());
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let found = match entries(&body, form, &config()) {
        Ok(Entries::One(bytes, encoding)) => format!("{encoding:?} {}", text(&bytes)),
        Ok(Entries::Many(entries)) => {
            let entry = |entry| match entry {
                Ok(bytes) => text(&bytes),
                Err(refusal) => format!("{refusal}"),
            };
            entries
                .into_iter()
                .map(entry)
                .collect::<Vec<_>>()
                .join("\n")
        }
        Err(refusal) => refusal.to_string(),
    };
    expected.assert_eq(&found);
}

#[test]
fn an_array_gives_its_elements_as_they_were_written() {
    check(
        Form::Json,
        " [ {\"a\" : 1} ,[2],\n\"x\\u0041\" ]",
        expect![[r#"
            {"a" : 1}
            [2]
            "x\u0041""#]],
    );
    check(Form::Json, "[]", expect![""]);
}

#[test]
fn an_array_that_does_not_parse_is_refused_with_the_place() {
    let malformed = expect!["malformed_json at '': the array does not parse at line 1, column 6"];
    check(Form::Json, "[{\"a\"}]", malformed);
}

#[test]
fn anything_but_an_array_is_one_entry() {
    check(Form::Json, "{\"a\":1}", expect![[r#"Json {"a":1}"#]]);
    check(Form::Json, "", expect!["Json "]);
    check(Form::MessagePack, "[", expect!["MessagePack ["]);
}

#[test]
fn lines_are_entries_and_empty_ones_are_none() {
    check(
        Form::Ndjson,
        "{\"a\":1}\r\n\n [2] \nx",
        expect![[r#"
            {"a":1}
            [2]
            x"#]],
    );
}

#[test]
fn too_many_entries_and_too_long_ones_are_refused() {
    check(
        Form::Ndjson,
        "1\n2\n3\n4",
        expect!["body_too_large at '': the body holds more than 3 spans"],
    );
    check(
        Form::Ndjson,
        "1\n\"123456789012345678901\"",
        expect![[r#"
            1
            body_too_large at '': the span is longer than 20 bytes"#]],
    );
}

#[test]
fn the_form_is_what_the_content_type_names() {
    for (content_type, form) in [
        (None, Some(Form::Json)),
        (Some("application/json; charset=utf-8"), Some(Form::Json)),
        (Some("Application/X-NDJSON"), Some(Form::Ndjson)),
        (Some("application/msgpack"), Some(Form::MessagePack)),
        (Some("text/plain"), None),
        (Some("\u{e9}"), None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            let value = HeaderValue::from_bytes(content_type.as_bytes()).unwrap();
            headers.insert(header::CONTENT_TYPE, value);
        }
        assert_eq!(Form::of(&headers).ok(), form, "{content_type:?}");
    }
}

fn publication(body: &str) -> Publication {
    let author = Reader {
        tenant: "acme".parse().unwrap(),
        principal: "alice".parse().unwrap(),
    };
    let body = Bytes::from(body.to_owned());
    Publication::new(body, Encoding::Json, &author, None, &Limits::STANDARD).unwrap()
}

#[test]
fn a_span_with_an_id_is_passed_on_byte_for_byte() {
    let body = r#" {"this" : "door","who":"a","entity_type":"note","id":"0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f"} "#;
    let publication = publication(body);
    assert_eq!(publication.body, body);
    assert_eq!(
        publication.id.to_string(),
        "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f"
    );
    assert_eq!(publication.subject.to_string(), "ingest.acme.alice.note");
}

#[test]
fn a_span_without_an_id_is_given_one_that_time_orders() {
    let publication = publication(r#"{"this":"door","who":"a","entity_type":"note","id":null}"#);
    assert_eq!(publication.id.as_uuid().get_version_num(), 7);
    let text = std::str::from_utf8(&publication.body).unwrap();
    assert_eq!(text.matches("\"id\"").count(), 1, "{text}");
    assert!(text.contains(&publication.id.to_string()), "{text}");
}
