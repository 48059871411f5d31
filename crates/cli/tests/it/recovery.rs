//! LED-15: either side survives the other's loss, with the same hashes and no effect repeated.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::process::{Stack, answer, logline, run};

/// Spans of several kinds, a function among them, whose execution has come.
fn lived(here: &Path) -> Stack {
    let stack = Stack::start(here);
    fs::write(
        here.join("greet.js"),
        "export async function main(ctx) { return { hello: ctx.input.name } }\n",
    )
    .unwrap();
    for n in 0..20 {
        publish(
            here,
            &["--entity-type", "activity", "--this", &format!("door {n}")],
        );
    }
    schedule(here, "greet");
    executed(here, 1);
    stack
}

fn publish(here: &Path, more: &[&str]) -> Value {
    let arguments = [&["publish", "--who", "me"], more].concat();
    serde_json::from_str(&answer(here, &arguments)).unwrap()
}

fn schedule(here: &Path, name: &str) {
    publish(
        here,
        &[
            "--entity-type",
            "function",
            "--this",
            name,
            "--set",
            "status=scheduled",
            "--set",
            r#"input={"name":"world"}"#,
            "--set",
            "language=javascript",
            "--set-file",
            "code=greet.js",
        ],
    );
}

/// Waits until so many executions are sealed since the beginning.
fn executed(here: &Path, count: usize) {
    let count = count.to_string();
    let arguments = [
        "tail",
        "--after",
        "0",
        "--entity-type",
        "execution",
        "--count",
        &count,
        "--output",
        "ndjson",
    ];
    answer(here, &arguments);
}

/// Everything that readers see, with hashes, positions and times.
fn spans(here: &Path) -> Vec<Value> {
    let page = answer(here, &["query", "--limit", "1000"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    page["spans"].as_array().unwrap().clone()
}

fn verified(here: &Path) {
    let report: Value = serde_json::from_str(&answer(here, &["verify"])).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    let doctor = answer(here, &["doctor", "--output", "table"]);
    assert!(doctor.trim_end().ends_with(", 0 failed"), "{doctor}");
}

#[test]
fn a_lost_ledger_comes_back_from_the_bus() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    lived(here).stop();
    let stack = Stack::start(here);
    let before = spans(here);
    let kept = checkpoint(&stack);
    stack.stop();
    fs::remove_dir_all(here.join(".logline/postgres")).unwrap();

    // Sealing on would begin every chain anew.
    let refused = logline()
        .args(["dev", "--port", "0", "--nats-port", "0", "--pg-port", "0"])
        .current_dir(here)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("logline dev --restore"), "{said}");

    let stack = Stack::start_as(here, &["--restore"]);
    assert_eq!(spans(here), before);
    fs::write(here.join("kept"), kept).unwrap();
    let report = answer(here, &["verify", "--against", "kept"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["ok"], &report["anchored"]),
        (&true.into(), &true.into())
    );
    // Life goes on, in the same log.
    schedule(here, "again");
    executed(here, 2);
    verified(here);
    assert_eq!(
        spans(here)
            .iter()
            .filter(|it| it["entity_type"] == "execution")
            .count(),
        2
    );
    stack.stop();
}

#[test]
fn a_lost_bus_is_filled_from_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    lived(here).stop();
    let stack = Stack::start(here);
    let before = spans(here);
    stack.stop();
    fs::remove_dir_all(here.join(".logline/nats")).unwrap();

    let stack = Stack::start(here);
    let again = answer(here, &["republish"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["parted_at"], Value::Null, "{again}");
    // The incident that tells of it (LED-17) may be sealed already.
    let told = again["spans"].as_u64().unwrap();
    let known = before.len() as u64;
    assert!((known..=known + 1).contains(&told), "{again}");
    schedule(here, "again");
    executed(here, 2);
    let after = spans(here);
    let older: Vec<_> = after.iter().filter(|it| before.contains(it)).collect();
    assert_eq!(older.len(), before.len());
    // The second function, its request and its execution: nothing old was done again.
    assert_eq!(after.len(), before.len() + 3, "{after:#?}");
    verified(here);
    stack.stop();
}

#[test]
fn a_timeline_that_tells_something_else_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = lived(here);
    let before = spans(here);
    let forged = Command::new(logline_testkit::nats_cli())
        .args(["--server", stack.address("nats_admin"), "pub"])
        .args(["timeline.dev.public.me._.activity", "{}"])
        .output()
        .unwrap();
    assert!(forged.status.success(), "{forged:?}");
    assert_eq!(run(here, &["doctor"]).status.code(), Some(1));
    let again: Value = serde_json::from_str(&answer(here, &["republish"])).unwrap();
    assert_eq!(again["parted_at"], before.len() + 1, "{again}");
    // What was published meanwhile, by the doctor, comes out too.
    publish(here, &["--entity-type", "activity", "--this", "window"]);
    verified(here);
    stack.stop();
}

fn checkpoint(stack: &Stack) -> String {
    let url = format!("{}/api/checkpoints/dev", stack.address("api"));
    let token = format!("Bearer {}", stack.address("token"));
    let mut answer = ureq::get(&url)
        .header("Authorization", &token)
        .call()
        .unwrap();
    answer.body_mut().read_to_string().unwrap()
}
