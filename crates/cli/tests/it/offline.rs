//! Commands that need no server.

use std::{io::Write, process::Stdio};

use serde_json::Value;

use crate::process::{answer, logline, run};

#[test]
fn a_span_is_signed_and_checked_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    answer(directory.path(), &["keygen", "key.pem"]);
    std::fs::write(
        directory.path().join("spans.ndjson"),
        "{\"entity_type\":\"activity\",\"who\":\"alice\",\"this\":\"door\"}\n\n{\"entity_type\":\"activity\",\"who\":\"bob\",\"this\":\"gate\"}\n",
    )
    .unwrap();
    let signed = answer(
        directory.path(),
        &[
            "span",
            "sign",
            "spans.ndjson",
            "--key",
            "key.pem",
            "--tenant",
            "acme",
            "--owner",
            "alice",
        ],
    );
    assert_eq!(signed.lines().count(), 2);
    std::fs::write(directory.path().join("signed.ndjson"), &signed).unwrap();
    for line in answer(directory.path(), &["span", "check", "signed.ndjson"]).lines() {
        let checked: Value = serde_json::from_str(line).unwrap();
        assert_eq!(checked["success"], true);
        assert_eq!(checked["public_key"].as_str().map(str::len), Some(64));
    }
    std::fs::write(
        directory.path().join("forged.ndjson"),
        signed.replace("door", "safe"),
    )
    .unwrap();
    let checked = run(directory.path(), &["span", "check", "forged.ndjson"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        String::from_utf8(checked.stdout)
            .unwrap()
            .contains("signature_invalid")
    );
}

#[test]
fn the_canonical_form_of_standard_input_is_printed() {
    let mut child = logline()
        .args(["span", "canon", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"who":"a","this":"t","entity_type":"x","input":{"b":1.0,"a":[]}}"#)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""input":{"a":[],"b":1}"#), "{text}");
}

#[test]
fn a_key_is_never_overwritten_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    answer(directory.path(), &["keygen", "key.pem", "--hex"]);
    for file in ["key.pem", "key.pem.hex"] {
        let mode = std::fs::metadata(directory.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = run(directory.path(), &["keygen", "key.pem"]);
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn without_a_stack_a_command_says_how_to_get_one() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["query"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("logline dev") && said.contains("--dir"),
        "{said}"
    );
}

#[test]
fn all_faults_of_a_configuration_are_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("c.toml"),
        "[bus]\nurll = \"x\"\n[api]\nlisten = 5\n",
    )
    .unwrap();
    let output = run(directory.path(), &["serve", "--config", "c.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("bus.urll") && said.contains("api.listen"),
        "{said}"
    );
}
