//! LED-14: what was refused is listed, shown, mended and discarded, and a span tells of each.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::process::{Stack, answer, run};

fn publish(stack: &Stack, subject: &str, body: &str) {
    let done = Command::new(logline_testkit::nats_cli())
        .args(["--server", stack.address("nats"), "pub", subject, body])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn listed(here: &Path) -> Vec<Value> {
    lines(&answer(here, &["quarantine", "list"]))
}

fn numbers(entries: &[Value]) -> Vec<u64> {
    entries
        .iter()
        .map(|it| it["number"].as_u64().unwrap())
        .collect()
}

/// Sealed after everything before it was handled.
fn settle(here: &Path) {
    answer(
        here,
        &[
            "publish",
            "--entity-type",
            "probe",
            "--who",
            "me",
            "--this",
            "x",
        ],
    );
}

#[test]
fn what_was_refused_is_mended_or_discarded_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = Stack::start(here);
    publish(&stack, "ingest.dev.bob.activity", "{\"who\":\u{1b}[31m");
    publish(
        &stack,
        "ingest.dev.bob.activity",
        r#"{"who":"bob","this":"door","colour":"red"}"#,
    );
    publish(&stack, "ingest.other.eve.activity", r#"{"this":"door"}"#);
    publish(
        &stack,
        "ingest.OTHER.eve.activity",
        r#"{"who":"eve","this":"gate"}"#,
    );
    publish(
        &stack,
        "logline.publish.dev.bob.activity",
        r#"{"who":"bob"}"#,
    );
    settle(here);

    let entries = listed(here);
    let told: Vec<_> = entries
        .iter()
        .map(|it| (it["tenant"].as_str(), it["code"].as_str().unwrap()))
        .collect();
    for expected in [
        (Some("dev"), "malformed_json"),
        (Some("dev"), "unknown_field"),
        (Some("other"), "missing_field"),
        (None, "invalid_address"),
        (Some("dev"), "missing_field"),
    ] {
        assert!(told.contains(&expected), "{expected:?}: {told:?}");
    }
    assert_eq!(entries.len(), 5);
    let number = |code: &str, tenant: &str| {
        let found = entries
            .iter()
            .find(|it| it["code"] == code && it["tenant"] == tenant);
        found.unwrap()["number"].to_string()
    };
    let (malformed, unknown) = (
        number("malformed_json", "dev"),
        number("unknown_field", "dev"),
    );

    // The raw bytes, which never reach a terminal as they are.
    let shown = answer(here, &["quarantine", "show", &malformed]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["body"], "{\"who\":\u{1b}[31m");
    let table = answer(
        here,
        &["quarantine", "show", &malformed, "--output", "table"],
    );
    assert!(!table.contains('\u{1b}'), "{table}");

    // Unmended, it stays.
    let stays = run(here, &["quarantine", "redrive", &unknown]);
    assert_eq!(stays.status.code(), Some(1));
    assert!(String::from_utf8(stays.stdout).unwrap().contains("colour"));
    assert_eq!(listed(here).len(), 5);

    fs::write(here.join("mended.json"), r#"{"who":"bob","this":"door"}"#).unwrap();
    let redrive = ["quarantine", "redrive", &unknown, "--with", "mended.json"];
    let dry = answer(here, &[redrive.as_slice(), &["--dry-run"]].concat());
    assert!(dry.contains("ingest.dev.me.activity"), "{dry}");
    let done: Value = serde_json::from_str(&answer(here, &redrive)).unwrap();
    let span = answer(
        here,
        &["show", done["id"].as_str().unwrap(), "--output", "json"],
    );
    let span: Value = serde_json::from_str(&span).unwrap();
    let digest = entries
        .iter()
        .find(|it| it["code"] == "unknown_field")
        .unwrap();
    assert_eq!(span["metadata"]["redrive"]["digest"], digest["digest"]);
    assert_eq!(
        (&span["owner_id"], &span["who"]),
        (&"me".into(), &"bob".into())
    );
    assert_eq!(listed(here).len(), 4);
    assert_eq!(run(here, &redrive).status.code(), Some(2), "it is gone");

    // In chunks; each is told by a span of its own.
    let discard = [
        "quarantine",
        "discard",
        "--tenant",
        "dev",
        "--reason",
        "test bytes",
        "--chunk",
        "1",
    ];
    let done = lines(&answer(here, &discard));
    assert_eq!(numbers(&done).len(), 2);
    let page = answer(here, &["query", "--entity-type", "quarantine_discarded"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["count"], 2);
    assert_eq!(page["spans"][0]["metadata"]["reason"], "test bytes");
    assert_eq!(listed(here).len(), 2);
    let verified: Value = serde_json::from_str(&answer(here, &["verify"])).unwrap();
    assert_eq!(verified["ok"], true);
    stack.stop();
}
