//! Nothing passes from one run to another (BOX-3), and the same run has the same outcome (BOX-5).

use std::{fs::Permissions, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use logline_sandbox::{Config, FailureCode, Sandbox};

use crate::{SANDBOX, eval, failed, main, outcome, run, value_in};

#[tokio::test]
async fn patched_prototypes_are_gone_in_the_next_run() {
    let patch = "
        Object.prototype.evil = 1; Array.prototype.map = () => 'evil'; JSON.stringify = JSON.parse = () => 'evil';
        Math.random = Date.now = () => 4; Promise.prototype.then = () => {}; globalThis.left = 'behind';
        String.prototype.toWellFormed = () => 'evil'; Uint8Array = Error = undefined;
        export function main(ctx) { ctx.env = 1; ctx.crypto.blake3 = 1; return 1 }";
    let sandbox = own(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine"));
    for _ in 0..8 {
        sandbox.run(run(patch)).await;
        assert_eq!(
            value_in(&sandbox, &main("[({}).evil, [1].map((x) => x), JSON.stringify({}), typeof left, Date.now() === 4, typeof Uint8Array, Math.random() === 4]")).await,
            r#"[null,[1],"{}","undefined",false,"function",false]"#
        );
    }
}

#[tokio::test]
async fn patches_do_not_reach_what_the_sandbox_itself_uses() {
    let code = "
        Object.prototype.toJSON = undefined; JSON.stringify = () => 'evil'; String.prototype.toWellFormed = () => 'evil';
        Function.prototype.call = Function.prototype.apply = () => 'evil'; Array.prototype[Symbol.iterator] = () => 'evil';
        Reflect.apply = Object.freeze = () => 'evil';
        export function main(ctx) { ctx.log('line', { a: 1 }); return [ctx.input.a, ctx.crypto.hex(ctx.crypto.toU8('a'))] }";
    let outcome = outcome(code).await;
    assert_eq!(outcome.logs, [r#"line {"a":1}"#]);
    assert_eq!(outcome.result.unwrap().as_str(), r#"[1,"61"]"#);
}

#[tokio::test]
async fn memory_of_earlier_runs_is_not_seen() {
    let dirty = "function main() { const a = []; for (let i = 0; i < 30; i++) a.push(new Uint8Array(1e6).fill(171)); return a.length }";
    let look = "function main() { let seen = 0; for (let i = 0; i < 30; i++) for (const byte of new Uint8Array(1e5)) seen |= byte; return seen }";
    let sandbox = own(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine"));
    for _ in 0..4 {
        assert_eq!(value_in(&sandbox, dirty).await, "30");
        assert_eq!(value_in(&sandbox, look).await, "0");
    }
}

#[tokio::test]
async fn a_run_after_a_failed_one_is_as_any_other() {
    for code in [
        "function main() { return main() }",
        "function main() { throw 1 }",
        "function main() { for (;;) globalThis.a = [globalThis.a] }",
    ] {
        assert!(outcome(code).await.result.is_err());
        assert_eq!(eval("ctx.input.a").await, "1");
    }
}

#[tokio::test]
async fn the_same_run_twice_has_the_same_outcome() {
    let code = "export async function main(ctx) {
        const seen = []; const weak = new WeakRef({}); for (let i = 0; i < 200; i++) { await null; seen.push(Math.random(), ctx.uuid()); }
        const set = new Set(seen); const o = {}; for (const key of seen.slice(0, 50)) o[key] = Date.now();
        ctx.log(weak.deref() === undefined, set.size);
        return [seen, o, new Date().toString(), (0.1).toFixed(20), Math.sin(1e22), new Error('x').stack, performance.now()];
    }";
    let (first, second) = (outcome(code).await, outcome(code).await);
    assert_eq!(
        first.result.unwrap().as_str(),
        second.result.unwrap().as_str()
    );
    assert_eq!(first.logs, second.logs);
    assert_eq!(first.memory_bytes, second.memory_bytes);
}

#[tokio::test]
async fn more_runs_than_instances_all_end_and_keep_apart() {
    let mut runs = JoinSet::new();
    for index in 0..64 {
        let code = format!(
            "globalThis.mine = {index}; export async function main() {{ await null; return mine }}"
        );
        runs.spawn(async move { (index, outcome(&code).await) });
    }
    while let Some(ended) = runs.join_next().await {
        let (index, outcome) = ended.unwrap();
        assert_eq!(outcome.result.unwrap().as_str(), index.to_string());
    }
}

/// One instance, so that each run has the memory of the one before it.
fn own(cache_dir: &std::path::Path) -> Sandbox {
    Sandbox::new(Config {
        cache_dir: cache_dir.to_owned(),
        instances: 1,
        queue: 1,
        memory_bytes_max: 64 << 20,
    })
    .unwrap()
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_any_more_does_not_begin() {
    let sandbox = own(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine"));
    sandbox.ready().await.unwrap();
    let mut endless = run("function main() { for (;;); }");
    endless.limits.wall = Duration::from_millis(200);
    let mut busy = JoinSet::new();
    busy.spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.run(endless).await }
    });
    // Lets it take its place in the queue.
    tokio::task::yield_now().await;
    let mut dropped = run("function main() { for (;;); }");
    dropped.limits.wall = Duration::from_secs(3600);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), sandbox.run(dropped))
            .await
            .is_err()
    );
    assert_eq!(
        failed(busy.join_next().await.unwrap().unwrap()).0,
        FailureCode::Timeout
    );
    assert!(sandbox.run(run("function main() {}")).await.result.is_ok());
}

#[tokio::test]
async fn a_cold_cache_is_filled_and_a_damaged_one_made_good() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("cache");
    let code: Arc<str> = "function main() { return 1 }".into();
    let files = || {
        std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    for damage in [None, Some(b"nothing like code".as_slice())] {
        if let Some(bytes) = damage {
            // Put in its place, as the file itself may still be mapped.
            let damaged = home.path().join("damaged");
            std::fs::write(&damaged, bytes).unwrap();
            std::fs::set_permissions(&damaged, Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(&damaged, &files()[0]).unwrap();
        }
        assert_eq!(
            own(&directory)
                .run(run(&code))
                .await
                .result
                .unwrap()
                .as_str(),
            "1"
        );
        assert_eq!(files().len(), 1);
    }
}

#[tokio::test]
async fn without_a_cache_directory_it_works_all_the_same() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(
        own(&file.path().join("below-a-file"))
            .run(run("function main() {}"))
            .await
            .result
            .is_ok()
    );
    SANDBOX.ready().await.unwrap();
}
