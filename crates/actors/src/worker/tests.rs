use std::time::Duration;

use expect_test::{Expect, expect};
use logline_sandbox::{FailureCode, Limits};
use serde_json::json;

use super::*;
use crate::sample::{function, json as field, request, shown};

const LIMITS: Limits = Limits::STANDARD;

fn answer(request: &Sealed, function: Option<&Sealed>) -> Written {
    match plan(request, function, &BTreeSet::new(), LIMITS) {
        Plan::Answer(written) => *written,
        Plan::Run(run, _) => panic!("it would run: {run:?}"),
    }
}

fn running(request: &Sealed, function: &Sealed) -> Run {
    match plan(request, Some(function), &BTreeSet::new(), LIMITS) {
        Plan::Answer(written) => panic!("it would not run: {}", shown(&written)),
        Plan::Run(run, _) => *run,
    }
}

fn outcome(result: Result<Json, Failure>, wall_ms: u64) -> Outcome {
    Outcome {
        result,
        logs: Vec::new(),
        wall: Duration::from_millis(wall_ms),
        memory_bytes: 0,
    }
}

/// Given this change to request and function, when it is planned, then the answer is this error.
#[track_caller]
fn refused(change: impl FnOnce(&mut Sealed, &mut Sealed), expected: Expect) {
    let (mut request, mut function) = (request(|_| ()), function(|_| ()));
    change(&mut request, &mut function);
    let execution = answer(&request, Some(&function)).span;
    assert_eq!(execution.status.unwrap().as_str(), "error");
    expected.assert_eq(execution.error.unwrap().as_str());
}

#[test]
fn an_execution_is_as_the_table_says() {
    let mut outcome = outcome(Ok(field(json!({ "greeting": "hello" }))), 12);
    outcome.logs = vec!["one".to_owned(), "two\0".to_owned()];
    let execution = execution(&request(|_| ()), &function(|_| ()), outcome);
    expect![[r#"{"at":"2026-03-28T10:00:05.000002Z","did":"executed","duration_ms":12,"entity_type":"execution","idempotency_key":"edge:run_code:0198c0de-0000-7000-8000-00000000000e:0","input":{"from":"function"},"links":{"caused_by":"0198c0de-0000-7000-8000-00000000000e"},"metadata":{"logs":["one",{"code":"nul_character","digest":"blake3:ad6068b133bcda86d504c7cc5791b48731334931d340da12aac29d1bcc7ee69c","length":4}]},"name":"greet","output":{"greeting":"hello"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"complete","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:run_code"}"#]].assert_eq(&shown(&execution));
}

#[test]
fn a_failed_execution_carries_code_message_and_stack() {
    let failure = Failure {
        code: FailureCode::Exception,
        message: "Error: no".to_owned(),
        stack: Some("at main".to_owned()),
    };
    let execution = execution(
        &request(|_| ()),
        &function(|_| ()),
        outcome(Err(failure), 3),
    );
    expect![[r#"{"at":"2026-03-28T10:00:05.000002Z","did":"executed","duration_ms":3,"entity_type":"execution","error":{"code":"exception","message":"Error: no","stack":"at main"},"idempotency_key":"edge:run_code:0198c0de-0000-7000-8000-00000000000e:0","input":{"from":"function"},"links":{"caused_by":"0198c0de-0000-7000-8000-00000000000e"},"name":"greet","owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"error","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:run_code"}"#]].assert_eq(&shown(&execution));
}

#[test]
fn exe_7_words_of_the_code_that_no_span_can_hold_become_digests() {
    let failure = Failure {
        code: FailureCode::Exception,
        message: "nul \0".to_owned(),
        stack: None,
    };
    let execution = execution(
        &request(|_| ()),
        &function(|_| ()),
        outcome(Err(failure), 3),
    );
    expect![[r#"{"code":"exception","message":{"code":"nul_character","digest":"blake3:01f55d254e5f9daf8330958de39ec4747902113200cd0ce49e3be1616a4f717e","length":5}}"#]].assert_eq(execution.span.error.unwrap().as_str());
}

#[test]
fn box_5_clock_and_seed_come_from_the_request() {
    let (request, function) = (request(|_| ()), function(|_| ()));
    let run = running(&request, &function);
    assert_eq!(run.now, request.received_at);
    assert_eq!(&run.seed, request.curr_hash.as_bytes());
    assert_eq!((run.user.as_str(), run.tenant.as_str()), ("alice", "acme"));
    assert_eq!(run.input.as_str(), r#"{"from":"function"}"#);
    assert_eq!(run.span.to_value()["position"], 7);
}

#[test]
fn the_requests_input_goes_before_the_functions() {
    let request = request(|request| request.span.input = Some(field(json!(5))));
    assert_eq!(running(&request, &function(|_| ())).input.as_str(), "5");
    let without = function(|function| function.span.input = None);
    assert_eq!(
        running(&crate::sample::request(|_| ()), &without)
            .input
            .as_str(),
        "null"
    );
}

#[test]
fn a_function_may_lower_its_time_and_not_raise_it() {
    let wall = |metadata| {
        let function = function(|function| function.span.metadata = Some(field(metadata)));
        running(&request(|_| ()), &function).limits.wall
    };
    assert_eq!(wall(json!({ "timeout_ms": 50 })), Duration::from_millis(50));
    for kept in [
        json!({ "timeout_ms": 60_000 }),
        json!({ "timeout_ms": 0 }),
        json!({ "timeout_ms": "x" }),
        json!([]),
    ] {
        assert_eq!(wall(kept), LIMITS.wall);
    }
}

#[test]
fn what_cannot_run_is_an_execution_with_a_code() {
    refused(
        |request, _| request.span.parent_id = None,
        expect![[
            r#"{"code":"function_missing","message":"the request names no function: its parent_id is missing"}"#
        ]],
    );
    refused(
        |_, function| function.span.entity_type = "policy".parse().unwrap(),
        expect![[
            r#"{"code":"function_not_found","message":"no function with the request's parent_id was sealed before the request"}"#
        ]],
    );
    refused(
        |_, function| function.span.is_deleted = true,
        expect![[r#"{"code":"function_deleted","message":"the function is deleted"}"#]],
    );
    refused(
        |_, function| function.span.code = Some(" \n".to_owned()),
        expect![[r#"{"code":"code_missing","message":"the function has no code"}"#]],
    );
    refused(
        |_, function| function.span.language = Some("python".to_owned()),
        expect![[
            r#"{"code":"language_unsupported","message":"the function's language is not one of: javascript"}"#
        ]],
    );
}

#[test]
fn a_function_that_is_not_there_is_reported_to_the_requester() {
    let request = request(|request| {
        request.span.owner_id = "bob".parse().unwrap();
        request.span.visibility = logline_span::Visibility::Private;
    });
    expect![[r#"{"at":"2026-03-28T10:00:05.000002Z","did":"executed","duration_ms":0,"entity_type":"execution","error":{"code":"function_not_found","message":"no function with the request's parent_id was sealed before the request"},"idempotency_key":"edge:run_code:0198c0de-0000-7000-8000-00000000000e:0","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000e"},"owner_id":"bob","parent_id":"0198c0de-0000-7000-8000-00000000000f","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"error","tenant_id":"acme","this":"run_code","trace_id":"0198c0de00007000800000000000000f","visibility":"private","who":"edge:run_code"}"#]].assert_eq(&shown(&answer(&request, None)));
}

#[test]
fn a_role_of_the_author_is_as_good_as_the_name() {
    let bobs = request(|request| request.span.owner_id = "bob".parse().unwrap());
    let of = |invokers| {
        function(|function| function.span.metadata = Some(field(json!({ "invokers": invokers }))))
    };
    let roles: BTreeSet<RoleName> = ["operator".parse().unwrap()].into();
    for (invokers, runs) in [
        (json!(["operator"]), true),
        (json!(["carol", "operator"]), true),
        (json!(["operators"]), false),
        (json!("operator"), false),
    ] {
        let function = of(invokers);
        let plan = plan(&bobs, Some(&function), &roles, LIMITS);
        assert_eq!(matches!(plan, Plan::Run(..)), runs, "{plan:?}");
    }
    // The ledger is asked only where the answer decides.
    assert!(asks_for_roles(&bobs, Some(&of(json!(["operator"])))));
    assert!(!asks_for_roles(&bobs, Some(&of(json!(["bob"])))));
    assert!(!asks_for_roles(&bobs, Some(&function(|_| ()))));
    assert!(!asks_for_roles(
        &request(|_| ()),
        Some(&of(json!(["operator"])))
    ));
}

#[test]
fn requests_of_others_run_only_if_the_function_names_them() {
    let bobs = |request: &mut Sealed| request.span.owner_id = "bob".parse().unwrap();
    let naming = |invokers| {
        function(|function| function.span.metadata = Some(field(json!({ "invokers": invokers }))))
    };
    running(&request(bobs), &naming(json!(["carol", "bob"])));
    for invokers in [
        json!([]),
        json!(["carol"]),
        json!("bob"),
        json!({ "bob": true }),
        json!(null),
        json!([["bob"]]),
    ] {
        let violation = answer(&request(bobs), Some(&naming(invokers)));
        assert_eq!(violation.span.entity_type.as_str(), "policy_violation");
    }
    expect![[r#"{"at":"2026-03-28T10:00:05.000002Z","did":"blocked","entity_type":"policy_violation","idempotency_key":"edge:run_code:0198c0de-0000-7000-8000-00000000000e:0","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000e"},"metadata":{"code":"not_an_invoker","detail":"bob is neither the function's owner nor named in its metadata.invokers"},"owner_id":"alice","related_to":["0198c0de-0000-7000-8000-00000000000f"],"status":"error","tenant_id":"acme","this":"invokers","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:run_code"}"#]].assert_eq(&shown(&answer(&request(bobs), Some(&function(|_| ())))));
}

#[test]
fn exe_12_an_execution_belongs_to_the_function_and_is_as_visible_as_the_narrower() {
    use logline_span::Visibility::{Private, Public, Tenant};
    for (of_function, of_request, expected) in [
        (Public, Public, Public),
        (Public, Tenant, Tenant),
        (Tenant, Public, Tenant),
        (Tenant, Private, Private),
        (Private, Public, Private),
    ] {
        let function = function(|function| {
            function.span.visibility = of_function;
            function.span.metadata = Some(field(json!({ "invokers": ["bob"] })));
        });
        let request = request(|request| {
            request.span.visibility = of_request;
            request.span.owner_id = "bob".parse().unwrap();
        });
        let execution = execution(&request, &function, outcome(Ok(field(json!(1))), 1)).span;
        assert_eq!(
            (execution.owner_id.as_str(), execution.visibility),
            ("alice", expected)
        );
    }
}

#[test]
fn only_a_slow_execution_is_labelled_slow() {
    let request = request(|_| ());
    let after = |wall_ms| {
        let mut execution = execution(
            &request,
            &function(|_| ()),
            outcome(Ok(field(json!(1))), wall_ms),
        )
        .span;
        execution.id = crate::sample::id("0198c0de-0000-7000-8000-00000000000d");
        slow(&request, &execution, Duration::from_secs(5))
    };
    assert!(after(5000).is_none());
    expect![[r#"{"at":"2026-03-28T10:00:05.000002Z","did":"labeled","entity_type":"status_patch","idempotency_key":"edge:run_code:0198c0de-0000-7000-8000-00000000000e:0:slow","links":{"caused_by":"0198c0de-0000-7000-8000-00000000000e"},"metadata":{"duration_ms":5001,"status":"slow"},"owner_id":"alice","parent_id":"0198c0de-0000-7000-8000-00000000000d","tenant_id":"acme","this":"status=slow","trace_id":"0198c0de00007000800000000000000f","visibility":"tenant","who":"edge:run_code"}"#]].assert_eq(&shown(&after(5001).unwrap()));
}

#[test]
fn only_scheduled_requests_to_run_code_concern_the_worker() {
    assert!(concerns(&request(|_| ())));
    assert!(!concerns(&request(
        |request| request.span.this = "boot".to_owned()
    )));
    assert!(!concerns(
        &request(|request| request.span.is_deleted = true)
    ));
}
