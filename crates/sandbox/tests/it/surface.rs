//! What the code finds (BOX-4), and what it does not (BOX-1).

use crate::{NOW_US, SANDBOX, eval, json, outcome, run, value};

#[tokio::test]
async fn main_is_found_in_every_form() {
    for code in [
        "export async function main(ctx) { return ctx.input.a; }",
        "export function main(ctx) { return ctx.input.a; }",
        "async function main(ctx) { return ctx.input.a; }",
        "function main(ctx) { return ctx.input.a; }",
        "const main = (ctx) => ctx.input.a;",
        "export const main = async ({ input }) => input.a;",
        "const run = (ctx) => ctx.input.a; export { run as main };",
        "function main(ctx) { return ctx.input.a } // a comment at the end",
        "let a; await Promise.resolve().then(() => { a = 1 }); export const main = () => a;",
        "function main(ctx) { return { then: (done) => done(ctx.input.a) } }",
    ] {
        assert_eq!(value(code).await, "1", "{code}");
    }
}

#[tokio::test]
async fn the_context_holds_what_the_run_was_given() {
    assert_eq!(
        eval("[ctx.input.list, ctx.span.entity_type]").await,
        r#"[[1,2,3],"function"]"#
    );
    assert_eq!(
        eval("ctx.env").await,
        r#"{"APP_TENANT_ID":"acme","APP_USER_ID":"ana"}"#
    );
    assert_eq!(eval("Object.isFrozen(ctx.env)").await, "true");
    assert_eq!(
        eval("Object.keys(ctx)").await,
        r#"["input","span","now","random","uuid","log","env","crypto"]"#
    );
}

#[tokio::test]
async fn undefined_becomes_null() {
    assert_eq!(value("function main() {}").await, "null");
    assert_eq!(
        eval("[undefined, NaN, { a: undefined }]").await,
        "[null,null,{}]"
    );
}

#[tokio::test]
async fn the_clock_is_the_given_one_and_stands_still() {
    let now = NOW_US / 1000;
    assert_eq!(
        eval("[ctx.now(), Date.now(), +new Date()]").await,
        format!("[{now},{now},{now}]")
    );
    assert_eq!(
        eval("new Date().toISOString()").await,
        r#""2023-11-14T22:13:20.123Z""#
    );
    assert_eq!(eval("new Date().getTimezoneOffset()").await, "0");
    let code = "export function main() { const t = performance.now(); for (let i = 0; i < 1e6; i++); return performance.now() - t; }";
    assert_eq!(value(code).await, "0");
}

/// BOX-5: the same run has the same outcome; another seed has another.
#[tokio::test]
async fn randomness_comes_from_the_seed() {
    let code = "export const main = (ctx) => [ctx.random(), Math.random(), ctx.uuid(), ctx.crypto.randomUUID()];";
    let first = value(code).await;
    assert_eq!(first, value(code).await);
    let other = SANDBOX
        .run({
            let mut run = run(code);
            run.seed = [8; 32];
            run
        })
        .await;
    assert_ne!(first, other.result.unwrap().as_str());
    let zero = SANDBOX
        .run({
            let mut run = run(code);
            run.seed = [0; 32];
            run
        })
        .await
        .result
        .unwrap()
        .to_value();
    assert_ne!(zero[0], zero[1]);

    let uuid = r"/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/";
    assert_eq!(
        eval(&format!(
            "[ctx.uuid(), ctx.crypto.randomUUID()].every((id) => {uuid}.test(id))"
        ))
        .await,
        "true"
    );
    let spread = "export const main = ({ random }) => { let sum = 0; for (let i = 0; i < 1e4; i++) { const r = random(); if (r < 0 || r >= 1) return r; sum += r; } return Math.abs(sum / 1e4 - 0.5) < 0.02; }";
    assert_eq!(value(spread).await, "true");
}

#[tokio::test]
async fn hashes_are_those_of_the_host() {
    let expected = blake3::hash("grüße".as_bytes()).to_hex();
    assert_eq!(
        eval("ctx.crypto.hex(ctx.crypto.blake3('grüße'))").await,
        format!("\"{expected}\"")
    );
    assert_eq!(
        eval("ctx.crypto.hex(ctx.crypto.blake3(ctx.crypto.toU8('grüße').buffer))").await,
        format!("\"{expected}\"")
    );
    assert_eq!(eval("[...ctx.crypto.toU8('aé')]").await, "[97,195,169]");
    assert_eq!(eval("ctx.crypto.blake3('').length").await, "32");
    let part = blake3::hash(&[2, 3]).to_hex();
    let view = "ctx.crypto.hex(ctx.crypto.blake3(new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)))";
    assert_eq!(eval(view).await, format!("\"{part}\""));
}

#[tokio::test]
async fn signatures_are_verified_as_the_product_verifies_them() {
    use ed25519_dalek::{Signer, SigningKey};
    let key = SigningKey::from_bytes(&[3; 32]);
    let signature = key.sign(b"message");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut call = run("export const main = ({ input: { s, m, k }, crypto: { ed25519, toU8 } }) => [
        ed25519.verify(s, m, k), ed25519.verify('ed25519:' + s, toU8(m), k), ed25519.verify(s, 'Message', k),
        ed25519.verify('00', m, k), ed25519.verify('zz', m, k), ed25519.verify(s, m, k.slice(2)), ed25519.verify(s, m, toU8('')),
    ];");
    let (signature, key) = (
        hex(&signature.to_bytes()),
        hex(key.verifying_key().as_bytes()),
    );
    call.input = json(&format!(
        r#"{{"s":"{signature}","m":"message","k":"{key}"}}"#
    ));
    let verified = SANDBOX.run(call).await.result.unwrap();
    assert_eq!(
        verified.as_str(),
        "[true,true,false,false,false,false,false]"
    );
    assert_eq!(eval("(() => { try { ctx.crypto.ed25519.verify(1, 2, 3) } catch (e) { return e.message } })()").await, r#""expected a Uint8Array or a string""#);
}

/// BOX-1: nothing of the host is reachable.
#[tokio::test]
async fn nothing_of_the_host_is_there() {
    for name in [
        "fetch",
        "XMLHttpRequest",
        "process",
        "require",
        "module",
        "console",
        "print",
        "setTimeout",
        "setInterval",
        "WebAssembly",
        "Atomics",
        "SharedArrayBuffer",
        "gc",
        "std",
        "os",
        "Deno",
        "Bun",
        "window",
        "native",
        "$main",
    ] {
        assert_eq!(
            eval(&format!("typeof {name}")).await,
            r#""undefined""#,
            "{name}"
        );
    }
    assert_eq!(
        eval("(() => { const { performance, ...rest } = globalThis; return Object.keys(rest) })()")
            .await,
        "[]"
    );
}

#[tokio::test]
async fn logs_are_lines_of_text() {
    let outcome = outcome(
        "export function main({ log }) {
            log('plain', 1, { a: [null] }); log(); log(undefined, null, true, 10n, Symbol('s'));
            log(new TypeError('wrong')); log(() => 1); const self = {}; self.self = self; log(self); log('a\\u0000b\\ud800');
        }",
    )
    .await;
    assert!(outcome.result.is_ok());
    assert_eq!(
        outcome.logs,
        [
            r#"plain 1 {"a":[null]}"#,
            "",
            "undefined null true 10 Symbol(s)",
            "TypeError: wrong",
            "() => 1",
            "[object Object]",
            "a\u{fffd}b\u{fffd}",
        ]
    );
}
