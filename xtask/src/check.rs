use crate::workspace::{cargo, run};

/// The gate. The tests come last, so that their results end the output.
pub(crate) fn check(quick: bool) -> anyhow::Result<()> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    if quick {
        return run(cargo(&["test", "--quiet", "--package", "xtask"]));
    }
    docs()?;
    run(cargo(&["test", "--workspace", "--no-fail-fast"]))
}

pub(crate) fn docs() -> anyhow::Result<()> {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}

/// The fault test of the suite, for longer.
pub(crate) fn faults(runs: u32, seed: u64, receipts: u32) -> anyhow::Result<()> {
    // The whole workspace, so that no dependency is built anew with features of its own.
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--test",
        "it",
        "faults::",
        "--",
        "--nocapture",
    ]);
    command.env("LOGLINE_FAULTS_RUNS", runs.to_string());
    command.env("LOGLINE_FAULTS_SEED", seed.to_string());
    command.env("LOGLINE_FAULTS_RECEIPTS", receipts.to_string());
    run(command)
}
