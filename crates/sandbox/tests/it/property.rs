//! Any bytes as source end in an outcome: they neither hang nor break the host.

use std::{sync::LazyLock, time::Duration};

use logline_sandbox::FailureCode;
use proptest::prelude::*;

use crate::{SANDBOX, run};

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

fn ends(code: &str) -> Result<(), TestCaseError> {
    let mut call = run(code);
    call.limits.wall = Duration::from_millis(50);
    let outcome = RUNTIME.block_on(SANDBOX.run(call));
    if let Err(failure) = &outcome.result {
        prop_assert!(
            !matches!(
                failure.code,
                FailureCode::Crashed | FailureCode::Unavailable
            ),
            "{}",
            failure.message
        );
        prop_assert!(failure.message.len() <= 2100);
    }
    prop_assert!(outcome.wall < Duration::from_secs(20));
    Ok(())
}

const PIECES: &str = r"function main(ctx) { } ( ) [ ] => async await yield function* class extends return throw try catch finally for while of
    in let const var new this super import export default main ctx ctx.log ctx.input a b 0 1e308 -1 10n 'x' `${ ` /a+/g
    ... . ?. ?? = += ** ; , : \u{ eval Function Proxy Reflect Symbol.iterator JSON.parse Array(1e9) .repeat(1e9) null
    ArrayBuffer(1e9,{maxByteLength:2e9}) .resize(0) Promise then getter get set static #p @ <!-- -->";

/// Pieces of programs, which get further into the engine than noise does.
fn program() -> impl Strategy<Value = String> {
    let mut pieces: Vec<_> = PIECES.split_whitespace().collect();
    pieces.extend(["\n", "\u{2028}", "\0"]);
    let pieces = proptest::sample::select(pieces);
    proptest::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_as_source_end_in_an_outcome(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        ends(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_pieces_of_programs_end_in_an_outcome(source in program()) {
        ends(&source)?;
    }

    #[test]
    fn any_expression_of_pieces_ends_in_an_outcome(source in program()) {
        ends(&format!("export async function main(ctx) {{ try {{ return eval({source:?}) }} catch (e) {{ ctx.log(e); return `${{e}}` }} }}"))?;
    }
}
