//! Tokens, API keys, roles and keys of people, as an operator and an admin use them (API-2, GOV-6, GOV-7).

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::process::{Stack, answer, run};

fn json(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(directory, arguments)).unwrap()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

/// The exit code and what was said on standard error.
fn refused(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(directory, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

const NOTE: [&str; 7] = [
    "publish",
    "--entity-type",
    "note",
    "--who",
    "someone",
    "--this",
    "door",
];

fn publish_as(directory: &Path, token: &str) -> Option<i32> {
    let arguments: Vec<&str> = NOTE.iter().copied().chain(["--token", token]).collect();
    run(directory, &arguments).status.code()
}

#[test]
fn an_operator_makes_tokens_and_takes_keys_back() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = Stack::start(here);
    let mode = std::fs::metadata(here.join(".logline/issuer.key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    let of_stack = json(here, &["token", "show", stack.address("token")]);
    assert_eq!(
        (&of_stack["valid"], &of_stack["principal"]),
        (&true.into(), &"me".into())
    );

    let mint = ["token", "mint", "--tenant", "dev", "--principal", "bob"];
    let minted = text(&json(here, &mint), "token");
    assert_eq!(publish_as(here, &minted), Some(0));
    let shown = json(here, &["token", "show", &minted]);
    assert_eq!(
        (&shown["tenant"], &shown["principal"]),
        (&"dev".into(), &"bob".into())
    );
    let forged = format!("{minted}A");
    let (code, _) = refused(here, &["token", "show", &forged]);
    assert_eq!(code, Some(1));
    assert_eq!(publish_as(here, &forged), Some(2));
    for (tenant, principal) in [
        ("system", "bob"),
        ("dev", "edge:worker"),
        ("dev", "bootstrap:seed"),
    ] {
        for more in [&[][..], &["--api-key", "--name", "n"]] {
            let mint = [
                "token",
                "mint",
                "--tenant",
                tenant,
                "--principal",
                principal,
            ];
            let arguments: Vec<&str> = mint.iter().chain(more).copied().collect();
            assert_eq!(refused(here, &arguments).0, Some(2), "{arguments:?}");
        }
    }

    let arguments: Vec<&str> = mint
        .iter()
        .chain(&["--api-key", "--name", "gate 7"])
        .copied()
        .collect();
    let made = json(here, &arguments);
    let (key, id) = (text(&made, "token"), text(&made, "id"));
    assert_eq!(publish_as(here, &key), Some(0));
    let listed = json(here, &["token", "list"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["state"]),
        (&made["id"], &"valid".into())
    );
    assert!(!listed.to_string().contains(&key));
    answer(here, &["token", "revoke", &id]);
    assert_eq!(publish_as(here, &key), Some(2));
    assert_eq!(refused(here, &["token", "revoke", &key]).0, Some(1));
    assert_eq!(json(here, &["token", "list"])[0]["state"], "revoked");
    assert_eq!(refused(here, &["token", "show", &key]).0, Some(1));
    let (code, said) = refused(here, &["token", "revoke", &minted]);
    assert!(code == Some(2) && said.contains("ends by itself"), "{said}");
    stack.stop();
}

#[test]
fn an_admin_gives_roles_and_binds_keys() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = Stack::start(here);
    let (code, said) = refused(here, &["role", "grant", "bob", "auditor"]);
    assert!(code == Some(1) && said.contains("no effect"), "{said}");
    let create = ["tenant", "create", "dev", "--admin", "me"];
    answer(here, &create);
    assert_eq!(refused(here, &create).0, Some(1), "once");
    answer(here, &["role", "grant", "bob", "auditor"]);
    let roles = json(here, &["role", "list"]);
    assert_eq!(roles[0]["role"], "auditor");
    assert_eq!(
        (&roles[1]["principal"], &roles[1]["given_by"]),
        (&"me".into(), &"bootstrap:seed".into())
    );

    let mint = [
        "token",
        "mint",
        "--tenant",
        "dev",
        "--principal",
        "bob",
        "--role",
        "auditor",
        "--role",
        "admin",
    ];
    let token = text(&json(here, &mint), "token");
    let shown = json(here, &["token", "show", &token]);
    assert_eq!(shown["roles"], serde_json::json!(["admin", "auditor"]));
    let (code, _) = refused(here, &["role", "grant", "bob", "admin", "--token", &token]);
    assert_eq!(code, Some(1));
    answer(here, &["role", "revoke", "bob", "auditor"]);
    assert_eq!(json(here, &["role", "list"]).as_array().unwrap().len(), 1);

    let made = |name| text(&json(here, &["keygen", name]), "public_key");
    let (first, second) = (made("first.pem"), made("second.pem"));
    answer(here, &["key", "add", "bob", &first, "--device", "laptop"]);
    let sign = [
        "key",
        "add",
        "bob",
        &second,
        "--sign-with",
        "first.pem",
        "--tenant",
        "dev",
        "--token",
        &token,
    ];
    answer(here, &sign);
    answer(here, &["key", "revoke", "bob", &first]);
    let keys = json(here, &["key", "list"]);
    assert_eq!(
        (keys.as_array().unwrap().len(), &keys[0]["public_key"]),
        (1, &Value::from(second.as_str()))
    );
    let third = made("third.pem");
    let late = [
        "key",
        "add",
        "bob",
        &third,
        "--sign-with",
        "first.pem",
        "--tenant",
        "dev",
        "--token",
        &token,
    ];
    assert_eq!(
        refused(here, &late).0,
        Some(1),
        "a revoked key binds no other"
    );
    stack.stop();
}
