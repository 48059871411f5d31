use expect_test::expect_file;
use logline_span::{Code, EntityType, Principal, Status, TenantId, Visibility};
use proptest::prelude::*;

use super::{Filter, Subject, Token, page, token};

fn tenant() -> impl Strategy<Value = TenantId> {
    "[a-z0-9][a-z0-9_-]{0,20}".prop_map(|text| text.parse().unwrap())
}

fn entity_type() -> impl Strategy<Value = EntityType> {
    "[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,4}){0,2}(\\.[a-z][a-z0-9]{0,6}){0,2}"
        .prop_map(|text| text.parse().unwrap())
}

fn principal() -> impl Strategy<Value = Principal> {
    let text = prop_oneof![
        "[a-z0-9@.:_%*> -]{1,40}",
        "\\PC{1,30}",
        any::<String>(),
        Just("_".to_owned()),
    ];
    text.prop_map(|text| text.to_lowercase())
        .prop_filter_map("a principal", |text| text.parse().ok())
}

fn token() -> impl Strategy<Value = Token> {
    let text = prop_oneof![any::<String>(), "[_%A-F0-9.]{1,6}"];
    text.prop_filter_map("a token", |text| text.parse().ok())
}

fn status() -> impl Strategy<Value = Option<Status>> {
    proptest::option::of("[A-Za-z0-9_-]{2,12}".prop_map(|text| text.parse().unwrap()))
}

fn subject() -> impl Strategy<Value = Subject> {
    let visibility = prop_oneof![
        Just(Visibility::Private),
        Just(Visibility::Tenant),
        Just(Visibility::Public)
    ];
    prop_oneof![
        (tenant(), principal(), entity_type()).prop_map(|(tenant, principal, entity_type)| {
            Subject::Ingest {
                tenant,
                principal,
                entity_type,
            }
        }),
        (tenant(), principal(), entity_type()).prop_map(|(tenant, principal, entity_type)| {
            Subject::Publish {
                tenant,
                principal,
                entity_type,
            }
        }),
        (tenant(), visibility, principal(), status(), entity_type()).prop_map(
            |(tenant, visibility, owner, status, entity_type)| Subject::Timeline {
                tenant,
                visibility,
                owner,
                status,
                entity_type,
            }
        ),
        (tenant(), token(), token()).prop_map(|(tenant, kind, id)| Subject::TimerSet {
            tenant,
            kind,
            id
        }),
        (tenant(), token(), token()).prop_map(|(tenant, kind, id)| Subject::TimerDue {
            tenant,
            kind,
            id
        }),
        tenant().prop_map(|tenant| Subject::Checkpoint { tenant }),
        (
            proptest::option::of(tenant()),
            proptest::sample::select(Code::ALL)
        )
            .prop_map(|(tenant, code)| Subject::Quarantine { tenant, code }),
    ]
}

proptest! {
    #[test]
    fn parsing_what_was_printed_gives_the_same_address(subject in subject()) {
        let text = subject.to_string();
        prop_assert_eq!(text.parse::<Subject>().unwrap(), subject);
    }

    #[test]
    fn an_address_that_parses_prints_as_it_was(text in "(ingest|timeline|timer|ledger|quarantine|logline)(\\.[a-zA-Z0-9_%@>*:]{0,5}){1,7}") {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert_eq!(subject.to_string(), text);
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(text in any::<String>()) {
        let _ = text.parse::<Subject>();
    }

    #[test]
    fn a_token_holds_nothing_that_the_server_reads(text in "\\PC{1,30}|[ -~]{1,30}") {
        let token = token::encoded(&text);
        prop_assert!(!token.contains(|c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control()));
        let decoded = token::decoded(&token);
        prop_assert_eq!(decoded.as_deref(), Some(&*text));
    }
}

#[test]
fn a_token_that_is_not_the_canonical_encoding_is_refused() {
    for token in [
        "%41", "a%2eb", "%5f", "a%5Fb", "%", "%2", "%zz", "%C3", "_", "%C3%28",
    ] {
        assert_eq!(token::decoded(token), None, "{token}");
    }
    assert_eq!(token::decoded("%5F").as_deref(), Some("_"));
    assert_eq!(token::decoded("a%2Eb").as_deref(), Some("a.b"));
    assert_eq!(token::encoded("müller\u{3000}x"), "müller%E3%80%80x");
}

#[test]
fn what_is_no_address_is_refused_with_one_code() {
    for text in [
        "",
        "ingest",
        "ingest.acme",
        "ingest.acme.alice",
        "ingest.acme.alice.",
        "ingest..alice.activity",
        "ingest.ACME.alice.activity",
        "ingest.acme.Alice.activity",
        "ingest.acme.%61lice.activity",
        "ingest.acme._.activity",
        "ingest.acme.alice.*",
        "ingest.acme.alice.>",
        "ingest.*.alice.activity",
        "ingest.acme.alice.Activity",
        "timeline.acme.secret.alice._.activity",
        "timeline.acme.public.alice.activity",
        "timer.set.acme.observer",
        "timer.set.acme.observer.1.2",
        "timer.ask.acme.observer.1",
        "ledger.checkpoint._",
        "ledger.checkpoint.acme.x",
        "ledger.head.acme",
        "quarantine.acme.no_such_code",
        "logline.publish.acme.alice",
        "logline.replay.acme",
        "logline.replay.acme.alice.x",
        "logline.other.acme.alice.activity",
        "$JS.API.INFO",
    ] {
        let refusal = text.parse::<Subject>().unwrap_err();
        assert_eq!(refusal.code, Code::InvalidAddress, "{text}");
        assert!(!refusal.detail.contains("Alice"), "{}", refusal.detail);
    }
}

#[test]
fn the_tenant_of_a_bad_address_is_known_where_its_token_is_valid() {
    let claimed = |text: &str| Subject::claimed_tenant(text).map(|it| it.to_string());
    assert_eq!(claimed("ingest.acme.Alice.x").as_deref(), Some("acme"));
    assert_eq!(claimed("logline.publish.acme").as_deref(), Some("acme"));
    assert_eq!(claimed("ingest.ACME.alice.x"), None);
    assert_eq!(claimed("timeline.acme.x"), None);
}

#[test]
fn filters_narrow_the_timeline() {
    let all = Filter::timeline();
    let narrowed = all
        .clone()
        .tenant("acme".parse().unwrap())
        .visibility(Visibility::Private)
        .owner("a.b".parse().unwrap())
        .status(None)
        .entity_group("law".parse().unwrap());
    assert_eq!(narrowed.to_string(), "timeline.acme.private.a%2Eb._.law.>");
}

#[test]
fn the_page_about_addresses_is_what_the_code_says() {
    expect_file!["../../../../docs/subjects.md"].assert_eq(&page());
}
