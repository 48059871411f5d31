//! `logline dev` (CLI-2), with the clients that its users have.

use std::{process::Command, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Stack, answer, run};

fn nats_request(stack: &Stack, subject: &str, body: &str) -> Value {
    let output = Command::new(logline_testkit::nats_cli())
        .args([
            "--server",
            stack.address("nats"),
            "request",
            "--raw",
            subject,
            body,
        ])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn psql(url: &str, statement: &str) -> String {
    let output = Command::new(logline_testkit::psql())
        .args([url, "-XAtc", statement])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_span_goes_the_whole_way_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let stack = Stack::start(here);
    println!("ready on a fresh directory after {:?}", stack.ready_after);

    let receipt = nats_request(
        &stack,
        "logline.publish.dev.me.activity",
        r#"{"who":"me","did":"opened","this":"door"}"#,
    );
    assert_eq!(receipt["success"], true, "{receipt}");
    let id = receipt["id"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&answer(here, &["show", id])).unwrap();
    assert_eq!(
        (&shown["curr_hash"], &shown["position"]),
        (&receipt["curr_hash"], &receipt["position"])
    );
    assert_eq!(
        psql(
            stack.address("postgres"),
            &format!("select who, \"this\" from ledger.universal_registry where id = '{id}'")
        ),
        "me|door"
    );
    assert_eq!(
        psql(
            stack.address("postgres_admin"),
            "select count(*) from ledger.universal_registry"
        ),
        "1"
    );

    std::fs::write(
        here.join("main.js"),
        "export async function main(ctx) { return { twice: 2 * ctx.input.n } }",
    )
    .unwrap();
    let published = answer(
        here,
        &[
            "publish",
            "--entity-type",
            "function",
            "--who",
            "me",
            "--this",
            "twice",
            "--set",
            "status=scheduled",
            "--set",
            "language=javascript",
            "--set",
            "input={\"n\":21}",
            "--set-file",
            "code=main.js",
        ],
    );
    let function: Value = serde_json::from_str(&published).unwrap();
    let tailed = answer(
        here,
        &["tail", "--after", "0", "--count", "4", "--output", "ndjson"],
    );
    let execution: Value = serde_json::from_str(tailed.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&execution["entity_type"], &execution["parent_id"]),
        (&Value::from("execution"), &function["id"])
    );
    assert_eq!(execution["output"]["twice"], 42);

    let refused = run(
        here,
        &[
            "publish",
            "--entity-type",
            "activity",
            "--who",
            "me",
            "--this",
            "x",
            "--set",
            "nonsense=1",
        ],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stdout)
            .unwrap()
            .contains("unknown_field")
    );

    let doctor = answer(here, &["doctor", "--output", "table"]);
    assert!(doctor.trim_end().ends_with(", 0 failed"), "{doctor}");

    stack.stop();
    let stack = Stack::start(here);
    println!("ready on an old directory after {:?}", stack.ready_after);
    let verified: Value = serde_json::from_str(&answer(here, &["verify"])).unwrap();
    assert_eq!(
        (&verified["ok"], &verified["failures"]),
        (&Value::Bool(true), &Value::Array(Vec::new()))
    );
    assert!(verified["checked"].as_u64().unwrap() >= 4);
    let page: Value =
        serde_json::from_str(&answer(here, &["query", "--entity-type", "execution"])).unwrap();
    assert_eq!(page["count"], 1);
    stack.stop();
}

#[test]
fn a_message_that_nobody_sealed_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    // The operator alone can do that.
    let forged = Command::new(logline_testkit::nats_cli())
        .args([
            "--server",
            stack.address("nats_admin"),
            "pub",
            "timeline.dev.public.me._.activity",
            "{}",
        ])
        .output()
        .unwrap();
    assert!(forged.status.success(), "{forged:?}");
    let doctor = run(directory.path(), &["doctor", "--output", "table"]);
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{said}");
    assert!(
        said.contains("FAIL  timeline: its end is what the ledger holds"),
        "{said}"
    );
    assert!(said.contains("logline republish"), "{said}");
}

#[test]
fn a_crash_leaves_nothing_running() {
    let directory = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(directory.path());
    let port = |url: &str| {
        url.rsplit(':')
            .next()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse::<u16>()
            .unwrap()
    };
    let ports = [port(stack.address("nats")), port(stack.address("postgres"))];
    stack.signal(Signal::SIGKILL);
    stack.child.wait().unwrap();
    let gone = || {
        ports
            .iter()
            .all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !gone() {
        assert!(
            std::time::Instant::now() < deadline,
            "a server outlived `logline dev`"
        );
        std::thread::yield_now();
    }
    Stack::start(directory.path()).stop();
}

#[test]
fn a_second_stack_in_one_directory_says_whose_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    let second = run(
        directory.path(),
        &["dev", "--port", "0", "--nats-port", "0", "--pg-port", "0"],
    );
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("in use by") && said.contains("--dir"),
        "{said}"
    );
    stack.stop();
}

#[test]
fn a_taken_port_is_said_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for flag in ["--port", "--nats-port", "--pg-port"] {
        let directory = tempfile::tempdir().unwrap();
        let others = ["--port", "--nats-port", "--pg-port"]
            .into_iter()
            .filter(|other| *other != flag)
            .flat_map(|other| [other, "0"]);
        let arguments: Vec<&str> = ["dev", flag, &port].into_iter().chain(others).collect();
        let output = run(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(&format!("port {port}"))
                && said.contains(flag)
                && said.contains(&std::process::id().to_string()),
            "{said}"
        );
    }
}

#[test]
fn nobody_speaks_for_the_system_on_the_bus() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    for address in [
        "timeline.dev.public.me._.activity",
        "ingest.dev.edge:run_code.execution",
        "timer.set.dev.function.x",
        "ledger.checkpoint.dev",
    ] {
        let said = Command::new(logline_testkit::nats_cli())
            .args([
                "--server",
                stack.address("nats"),
                "--trace",
                "pub",
                address,
                r#"{"who":"me","this":"x"}"#,
            ])
            .output()
            .unwrap();
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.to_lowercase().contains("permissions violation"),
            "{address}: {said}"
        );
    }
    let receipt = nats_request(
        &stack,
        "logline.publish.dev.me.activity",
        r#"{"who":"me","this":"door"}"#,
    );
    assert_eq!(receipt["position"], 1, "{receipt}");
    let first = answer(
        directory.path(),
        &["tail", "--after", "0", "--count", "1", "--output", "ndjson"],
    );
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["id"], receipt["id"]);
    stack.stop();
}
