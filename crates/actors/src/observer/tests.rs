use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::sample::{function, json as field, told};

const SECOND: i64 = 1_000_000;

fn scheduled(schedule: serde_json::Value) -> impl FnOnce(&mut Sealed) {
    move |function| function.span.metadata = Some(field(json!({ "schedule": schedule })))
}

fn version(seq: u32) -> Seq {
    Seq::new(seq).unwrap()
}

/// Given a function, when it is sealed, then the observer does this.
#[track_caller]
fn when_sealed(function: Sealed, expected: Expect) {
    expected.assert_eq(&told(&sealed(&function, 2)));
}

/// Given the alarm of version 0 and the function's latest version, when it fires a little late, then this.
#[track_caller]
fn when_due(latest: Option<Sealed>, expected: Expect) {
    let set = function(scheduled(json!("@every 30s")));
    let due = Timestamp::from_micros(set.received_at.as_micros() + 30 * SECOND);
    let alarm = Alarm {
        seq: Seq::ZERO,
        due,
        depth: 2,
    };
    let now = Timestamp::from_micros(due.as_micros() + SECOND / 10);
    expected.assert_eq(&told(&super::due(alarm, now, latest.as_ref())));
}

#[test]
fn a_scheduled_function_gets_one_request_as_the_table_says() {
    when_sealed(
        function(|_| ()),
        expect![[
            r#"{"at":"2026-03-28T10:00:00.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:00.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}"#
        ]],
    );
}

#[test]
fn the_request_is_no_more_visible_than_the_function() {
    let private = function(|function| function.span.visibility = logline_span::Visibility::Private);
    assert!(told(&sealed(&private, 0)).contains(r#""visibility":"private""#));
}

#[test]
fn the_same_version_says_the_same_again() {
    let function = function(scheduled(json!("@every 30s")));
    assert_eq!(told(&sealed(&function, 2)), told(&sealed(&function, 2)));
}

#[test]
fn a_schedule_sets_the_timer() {
    when_sealed(
        function(scheduled(json!("@every 30s"))),
        expect![[r#"
        {"at":"2026-03-28T10:00:00.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:00.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}
        arm {"seq":0,"due":"2026-03-28T10:00:30.000001Z","depth":2}"#]],
    );
}

#[test]
fn a_later_version_without_schedule_cancels_the_timer() {
    when_sealed(
        function(|function| function.span.seq = version(1)),
        expect![[r#"
            {"at":"2026-03-28T10:00:00.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:1:2026-03-28T10:00:00.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}
            disarm"#]],
    );
    let past = scheduled(json!("@at 2020-01-01T00:00:00Z"));
    when_sealed(
        function(|function| {
            past(function);
            function.span.seq = version(1);
        }),
        expect![[r#"
            {"at":"2026-03-28T10:00:00.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:1:2026-03-28T10:00:00.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}
            disarm"#]],
    );
}

#[test]
fn a_deleted_function_gets_no_request_and_loses_its_timer() {
    when_sealed(
        function(|function| function.span.is_deleted = true),
        expect![[""]],
    );
    when_sealed(
        function(|function| {
            function.span.is_deleted = true;
            function.span.seq = version(3);
        }),
        expect!["disarm"],
    );
}

#[test]
fn a_schedule_that_cannot_be_followed_is_refused_visibly() {
    when_sealed(
        function(scheduled(json!("every morning"))),
        expect![[r#"
        {"at":"2026-03-28T10:00:00.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:00.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}
        {"at":"2026-03-28T10:00:00.000001Z","did":"blocked","entity_type":"policy_violation","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:schedule","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"metadata":{"code":"schedule_invalid","detail":"the cron expression cannot be read: Invalid pattern: Pattern must have between 5 and 7 fields."},"owner_id":"alice","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"error","tenant_id":"acme","this":"schedule","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}"#]],
    );
}

#[test]
fn exe_8_a_chain_of_causes_that_grew_too_long_stops_with_an_incident() {
    expect![[r#"{"at":"2026-03-28T10:00:00.000001Z","did":"detected","entity_type":"incident","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:depth","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"metadata":{"code":"depth_exceeded","detail":"the chain of causes is longer than 16: nothing follows from this span"},"owner_id":"alice","tenant_id":"acme","this":"causation_depth","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}"#]].assert_eq(&told(&sealed(&function(|_| ()), DEPTH_MAX)));
    assert!(told(&sealed(&function(|_| ()), DEPTH_MAX - 1)).contains(r#""entity_type":"request""#));
}

#[test]
fn a_timer_of_the_latest_version_asks_again_and_goes_on() {
    when_due(
        Some(function(scheduled(json!("@every 30s")))),
        expect![[r#"
            {"at":"2026-03-28T10:00:30.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:30.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}
            arm {"seq":0,"due":"2026-03-28T10:01:00.000001Z","depth":2}"#]],
    );
    when_due(
        Some(function(scheduled(json!(
            "@at 2026-03-28T10:00:30.000001Z"
        )))),
        expect![[
            r#"{"at":"2026-03-28T10:00:30.000001Z","did":"scheduled","entity_type":"request","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:30.000001Z","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000f"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"scheduled","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:observer"}"#
        ]],
    );
}

#[test]
fn a_timer_without_an_open_function_does_nothing() {
    when_due(None, expect![[""]]);
    when_due(Some(function(|_| ())), expect![[""]]);
    let changes: [fn(&mut Sealed); 3] = [
        |function| function.span.is_deleted = true,
        |function| function.span.status = Some("paused".parse().unwrap()),
        |function| function.span.status = None,
    ];
    for change in changes {
        let mut function = function(scheduled(json!("@every 30s")));
        change(&mut function);
        when_due(Some(function), expect![[""]]);
    }
}

#[test]
fn a_timer_of_an_older_version_asks_for_nothing_and_gives_way_to_the_newer_schedule() {
    let newer = |schedule| {
        function(|function| {
            scheduled(schedule)(function);
            function.span.seq = version(1);
            function.received_at =
                Timestamp::from_micros(function.received_at.as_micros() + 10 * SECOND);
        })
    };
    when_due(
        Some(newer(json!("@every 1h"))),
        expect![[r#"arm {"seq":1,"due":"2026-03-28T11:00:10.000001Z","depth":2}"#]],
    );
    when_due(
        Some(newer(json!("@at 2020-01-01T00:00:00Z"))),
        expect!["disarm"],
    );
}

#[test]
fn missed_runs_come_as_one_late_run() {
    let function = function(scheduled(json!("@every 30s")));
    let after =
        |seconds: i64| Timestamp::from_micros(function.received_at.as_micros() + seconds * SECOND);
    let alarm = Alarm {
        seq: Seq::ZERO,
        due: after(30),
        depth: 2,
    };
    let actions = due(alarm, after(3599), Some(&function));
    let [Action::Publish(request), Action::Arm(next)] = actions.as_slice() else {
        panic!("{}", told(&actions))
    };
    assert_eq!((request.span.at, next.due), (after(30), after(3600)));
}

#[test]
fn a_function_that_cannot_be_read_ends_its_schedule_with_an_incident() {
    let function = function(|_| ());
    let alarm = Alarm {
        seq: Seq::ZERO,
        due: function.received_at,
        depth: 2,
    };
    let actions = unreadable(alarm, &function.span.tenant_id, function.span.id);
    expect![[r#"{"at":"2026-03-28T10:00:00.000001Z","did":"detected","entity_type":"incident","idempotency_key":"edge:observer:0198c0de-0000-7000-8000-00000000000f:0:2026-03-28T10:00:00.000001Z:unreadable","metadata":{"code":"function_unreadable","detail":"the ledger holds the function in a form that cannot be read: its schedule has ended"},"owner_id":"edge:observer","related_to":["0198c0de-0000-7000-8000-00000000000f"],"tenant_id":"acme","this":"schedule","trace_id":"0198c0de00007000800000000000000f","visibility":"private","who":"edge:observer"}"#]].assert_eq(&told(&actions));
}
