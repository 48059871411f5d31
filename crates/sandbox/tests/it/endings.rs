//! How runs end that return nothing.

use logline_sandbox::FailureCode::{self, Exception, InvalidOutput, NeverSettled, NoMain, Syntax};

use crate::{failure, outcome};

async fn check(code: &str, expected: FailureCode, message: &str) {
    let (found, text) = failure(code).await;
    assert_eq!(found, expected, "{code}: {text}");
    assert!(text.contains(message), "{code}: {text}");
}

#[tokio::test]
async fn what_the_code_throws_is_told_with_its_place() {
    let outcome = outcome("function main(ctx) {\n  log_nothing();\n}").await;
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.code, Exception);
    assert_eq!(
        failure.message,
        "ReferenceError: log_nothing is not defined"
    );
    let stack = failure.stack.unwrap();
    assert!(stack.contains("main (function.js:2:"), "{stack}");
    assert!(!stack.contains("prelude"), "{stack}");
}

#[tokio::test]
async fn any_value_can_be_thrown() {
    check("function main() { throw 'text' }", Exception, "text").await;
    check(
        "function main() { throw { a: 1 } }",
        Exception,
        r#"{"a":1}"#,
    )
    .await;
    check("function main() { throw null }", Exception, "null").await;
    check(
        "function main() { throw undefined }",
        Exception,
        "undefined",
    )
    .await;
    check(
        "function main() { throw Symbol('s') }",
        Exception,
        "Symbol(s)",
    )
    .await;
    check(
        "async function main() { await Promise.reject(new Error('later')) }",
        Exception,
        "Error: later",
    )
    .await;
    check(
        "throw new Error('at the top'); export function main() {}",
        Exception,
        "at the top",
    )
    .await;
    check(
        "function main() { throw { toJSON() { throw 1 }, toString() { throw 2 } } }",
        Exception,
        "cannot be shown",
    )
    .await;
    check("function main() { const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { throw 1 } }); throw e }", Exception, "Error: x").await;
    check("function main() { throw new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 1 } }) }", Exception, "cannot be shown").await;
    check(
        "function main() { throw new Error('a\\u0000b') }",
        Exception,
        "a\u{fffd}b",
    )
    .await;
}

#[tokio::test]
async fn a_message_and_a_stack_are_bounded() {
    let outcome = outcome("function main() { const e = new Error('é'.repeat(1e5)); e.stack = 'at é\\n'.repeat(1e5); throw e }").await;
    let failure = outcome.result.unwrap_err();
    assert!(
        failure.message.len() < 2100 && failure.message.ends_with("é…"),
        "{}",
        failure.message.len()
    );
    assert!(failure.stack.unwrap().len() < 4200);
}

#[tokio::test]
async fn a_source_that_does_not_parse_is_a_syntax_error() {
    for code in [
        "function main( {",
        "}",
        "export function main() { return 1",
        "/* open",
        "`open",
        "export { nothing }",
        "label:",
        "a\0b",
        "export function main() {} export function main() {}",
        "with (1) {}",
    ] {
        check(code, Syntax, "").await;
    }
    let failure = outcome("let a = 1;\nlet b = ;").await.result.unwrap_err();
    assert!(failure.stack.unwrap().contains("function.js:2:"));
}

#[tokio::test]
async fn a_source_without_main_is_told_so() {
    for code in [
        "",
        "// nothing",
        "export function on() {}",
        "const main = 1;",
        "export default function () {}",
        "globalThis.main = () => 1;",
    ] {
        check(code, NoMain, "`main`").await;
    }
}

#[tokio::test]
async fn modules_cannot_be_imported() {
    check(
        "import fs from 'fs'; export function main() {}",
        Exception,
        "cannot import 'fs': the sandbox has no modules",
    )
    .await;
    check(
        "export async function main() { await import('./other.js') }",
        Exception,
        "cannot import './other.js'",
    )
    .await;
    check(
        "export async function main() { await import('function.js') }",
        Exception,
        "cannot import",
    )
    .await;
}

#[tokio::test]
async fn a_promise_that_nothing_settles_is_told_so() {
    check(
        "export async function main() { await new Promise(() => {}) }",
        NeverSettled,
        "",
    )
    .await;
    check(
        "await new Promise(() => {}); export function main() {}",
        NeverSettled,
        "",
    )
    .await;
    check("function main() { return { then() {} } }", NeverSettled, "").await;
}

/// SPAN-2: what comes out is what a span can hold.
#[tokio::test]
async fn output_that_a_span_cannot_hold_is_refused() {
    check(
        "function main() { const a = []; a.push(a); return a }",
        InvalidOutput,
        "circular",
    )
    .await;
    check("function main() { return 10n }", InvalidOutput, "BigInt").await;
    check(
        "function main() { return () => 1 }",
        InvalidOutput,
        "no form as JSON",
    )
    .await;
    check("function main() { return Symbol('s') }", InvalidOutput, "").await;
    check(
        "function main() { return 'a\\u0000b' }",
        InvalidOutput,
        "cannot be kept",
    )
    .await;
    check(
        "function main() { return ['\\ud800'] }",
        InvalidOutput,
        "cannot be kept",
    )
    .await;
    check(
        "function main() { return { toJSON() { throw new Error('no') } } }",
        InvalidOutput,
        "Error: no",
    )
    .await;
    check(
        "function main() { let a = 1; for (let i = 0; i < 200; i++) a = [a]; return a }",
        InvalidOutput,
        "cannot be kept",
    )
    .await;
}
