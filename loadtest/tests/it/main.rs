//! Every scenario in its short form, against a stack that it starts itself.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that uses them"
)]

use std::process::{Command, Output};

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_logline-loadtest"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_levels_hold_under_a_little_load() {
    let scenarios = ["publishers", "mixed", "subscribers", "bursts", "bus"];
    let output = loadtest(&[&["--short"], &scenarios[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    let aside = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{aside}");
    for measure in [
        "50 publishers: accepted spans lost ",
        "50 requests at once: errors ",
        "20 mixed users: read back, p95 in ms ",
        "50 subscribers: spans repeated on a stream ",
        "burst without a limit: requests refused ",
        "burst beyond the limit: requests refused ",
        "bus at 100 a second: publish to timeline, p95 in ms ",
        "bus, saturated: sealed a second ",
    ] {
        let line = said.lines().find(|line| line.starts_with(measure));
        assert!(line.is_some(), "no {measure:?} in\n{said}{aside}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let output = loadtest(&["--short", "--logline", "/nowhere/logline"]);
    let aside = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(aside.contains("no program `/nowhere/logline`"), "{aside}");
}
