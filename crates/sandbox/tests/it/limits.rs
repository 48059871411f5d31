//! Each breach of a limit ends that run alone, with its code (BOX-2).

use std::time::Duration;

use logline_sandbox::{FailureCode, Outcome};

use crate::{SANDBOX, failed, failure, outcome, run, value};

const WALL: Duration = Duration::from_millis(100);

async fn within(wall: Duration, code: &str) -> Outcome {
    let mut call = run(code);
    call.limits.wall = wall;
    SANDBOX.run(call).await
}

#[tokio::test]
async fn whatever_goes_on_for_ever_is_stopped() {
    for code in [
        "function main() { for (;;); }",
        "function main() { for (;;) { try { for (;;); } catch {} finally { for (;;); } } }",
        "for (;;); export function main() {}",
        "function main() { return /^(a+)+$/.test('a'.repeat(40) + 'b') }",
        "function main() { const a = Array.from({ length: 5e5 }, (_, i) => -i); for (;;) a.sort(() => Math.random() - 0.5); }",
        "async function main() { for (;;) await null; }",
        "function main() { return { toJSON() { for (;;); } } }",
        "function main() { throw { toJSON() { for (;;); } } }",
        "function main() { const f = () => { try { return f() } finally { f() } }; return f() }",
        "function main() { const f = () => Promise.resolve().then(f); return f() }",
        "function main({ crypto }) { const data = new Uint8Array(1e6); for (;;) crypto.blake3(data); }",
        "function main({ log }) { for (;;) log('x'); }",
    ] {
        let outcome = within(WALL, code).await;
        let wall = outcome.wall;
        assert_eq!(failed(outcome).0, FailureCode::Timeout, "{code}");
        assert!(
            wall >= WALL && wall < WALL + Duration::from_secs(20),
            "{code}: {wall:?}"
        );
    }
}

#[tokio::test]
async fn a_short_deadline_does_not_stop_a_run_beside_it() {
    let counting =
        "function main() { let n = 0; for (let i = 0; i < 3e6; i++) n += i % 7; return n }";
    let beside = SANDBOX.run(run(counting));
    let (long, short) = tokio::join!(
        beside,
        within(Duration::from_millis(5), "function main() { for (;;); }")
    );
    assert!(long.result.is_ok());
    assert_eq!(failed(short).0, FailureCode::Timeout);
}

#[tokio::test]
async fn a_deadline_of_nothing_or_of_for_ever_is_a_deadline() {
    assert_eq!(
        failed(within(Duration::ZERO, "function main() { for (;;); }").await).0,
        FailureCode::Timeout
    );
    assert!(
        within(Duration::MAX, "function main() {}")
            .await
            .result
            .is_ok()
    );
}

#[tokio::test]
async fn memory_beyond_the_cap_is_refused() {
    for code in [
        "function main() { const a = []; for (;;) a.push(new Array(1e6).fill(0)); }",
        "function main() { let s = 'x'; for (;;) { s += s; s = s.slice(0); JSON.stringify(s) } }",
        "function main() { const a = []; for (;;) a.push(new Uint8Array(1e6)); }",
        "function main() { const m = new Map(); for (let i = 0; ; i++) m.set(i, { i }); }",
        "function main() { const a = []; try { for (;;) a.push('y'.repeat(1e6)) } catch { a.length = 0 } return 1 }",
        "globalThis.a = new ArrayBuffer(100e6); export function main() {}",
    ] {
        let outcome = outcome(code).await;
        assert!(outcome.memory_bytes <= 64 << 20);
        assert_eq!(failed(outcome).0, FailureCode::Memory, "{code}");
    }
}

#[tokio::test]
async fn a_run_may_have_less_memory_than_the_sandbox_allows() {
    let code = "function main() { return new Uint8Array(8e6).length }";
    assert_eq!(value(code).await, "8000000");
    let mut call = run(code);
    call.limits.memory_bytes = 6 << 20;
    let outcome = SANDBOX.run(call).await;
    assert_eq!(failed(outcome).0, FailureCode::Memory);
    let mut call = run(code);
    call.limits.memory_bytes = 1;
    assert_eq!(failed(SANDBOX.run(call).await).0, FailureCode::Memory);
}

#[tokio::test]
async fn recursion_that_is_too_deep_is_told_so() {
    for code in [
        "function main() { return main() }",
        "function main() { const f = async () => await f(); return f() }",
        "function main() { const a = { get a() { return this.a } }; return a.a }",
        "function main() { return new Proxy({}, { get: (t, k, r) => r[k] }).x }",
        "function main() { const a = []; a.toString = () => `${a}`; return `${a}` }",
        "function main() { class A { constructor() { new A() } } new A() }",
        "function main() { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a) }",
        "function main() { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a }",
        "function main() { return 'x'.replace(/x/, function f() { return 'x'.replace(/x/, f) }) }",
        "function main() { return JSON.parse('['.repeat(1e5)) }",
        "function main() { return eval('('.repeat(1e5)) }",
    ] {
        // Where the engine's own check is passed by, the machine's stack is what stops it: a trap, and the same code.
        let (code_found, message) = failure(code).await;
        assert_eq!(code_found, FailureCode::Stack, "{code}: {message}");
    }
    let source = format!(
        "function main() {{ return {}1{} }}",
        "(".repeat(100_000),
        ")".repeat(100_000)
    );
    assert_eq!(failure(&source).await.0, FailureCode::Stack);
}

#[tokio::test]
async fn an_overflow_that_the_code_caught_is_its_own_affair() {
    let code = "function main() { const f = (n) => { try { return f(n + 1) } catch (e) { return [n > 100, e.name] } }; return f(0) }";
    assert_eq!(value(code).await, r#"[true,"RangeError"]"#);
}

#[tokio::test]
async fn output_has_an_exact_limit() {
    let mut call = run("function main() { return 'x'.repeat(98) }");
    call.limits.output_bytes = 100;
    assert!(SANDBOX.run(call).await.result.is_ok());
    let mut call = run("function main() { return 'x'.repeat(99) }");
    call.limits.output_bytes = 100;
    assert_eq!(
        failed(SANDBOX.run(call).await).0,
        FailureCode::OutputTooLarge
    );
    assert_eq!(
        failure("function main() { return 'x'.repeat(128 * 1024) }")
            .await
            .0,
        FailureCode::OutputTooLarge
    );
    let longest = value("function main() { return 'x'.repeat(128 * 1024 - 2) }").await;
    assert_eq!(longest.len(), 128 * 1024);
}

#[tokio::test]
async fn logs_are_cut_at_their_limits_and_say_so() {
    let mut call = run("function main({ log }) { for (let i = 0; i < 10; i++) log('line', i) }");
    call.limits.log_lines = 3;
    let logs = SANDBOX.run(call).await.logs;
    assert_eq!(
        logs,
        [
            "line 0",
            "line 1",
            "line 2",
            "[log cut here: the limit is reached]"
        ]
    );

    let mut call =
        run("function main({ log }) { log('x'.repeat(60)); log('y'.repeat(60)); log('z') }");
    call.limits.log_bytes = 100;
    let logs = SANDBOX.run(call).await.logs;
    assert_eq!(
        logs,
        [
            "x".repeat(60),
            "[log cut here: the limit is reached]".to_owned()
        ]
    );
}

#[tokio::test]
async fn logs_of_a_stopped_run_are_kept() {
    let outcome = within(WALL, "function main({ log }) { log('before'); for (;;); }").await;
    assert_eq!(outcome.logs, ["before"]);
}

#[tokio::test]
async fn what_grows_when_it_is_made_printable_is_cut_too() {
    let logged = outcome("function main({ log }) { log('\\0'.repeat(16 * 1024)) }").await;
    let bytes: usize = logged.logs.iter().map(String::len).sum();
    assert!(bytes <= 16 * 1024 + 100, "{bytes}");
    let (_, message) = failure("function main() { throw new Error('\\0'.repeat(4096)) }").await;
    assert!(message.len() <= (2 << 10) + 3, "{}", message.len());
}
