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

/// The kill test of the suite, for longer.
pub(crate) fn faults(runs: u32, seed: Option<u64>) -> anyhow::Result<()> {
    longer("faults::", "LOGLINE_FAULTS", runs, seed)
}

/// The tampering test of the suite, for longer.
pub(crate) fn tamper(runs: u32, seed: Option<u64>) -> anyhow::Result<()> {
    longer("tampering::", "LOGLINE_TAMPER", runs, seed)
}

/// A test of the suite that takes the number of its runs from the environment.
fn longer(filter: &str, variable: &str, runs: u32, seed: Option<u64>) -> anyhow::Result<()> {
    // The whole workspace, so that no dependency is built anew with features of its own.
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--test",
        "it",
        filter,
        "--",
        "--nocapture",
    ]);
    command.env(format!("{variable}_RUNS"), runs.to_string());
    if let Some(seed) = seed {
        command.env(format!("{variable}_SEED"), seed.to_string());
    }
    run(command)
}
