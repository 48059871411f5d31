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
    let settings = [
        ("LOGLINE_FAULTS_RUNS", u64::from(runs)),
        ("LOGLINE_FAULTS_SEED", seed),
        ("LOGLINE_FAULTS_RECEIPTS", u64::from(receipts)),
    ];
    longer("faults::", &settings)
}

/// The tampering test of the suite, for longer.
pub(crate) fn tamper(runs: u32, seed: Option<u64>) -> anyhow::Result<()> {
    let mut settings = vec![("LOGLINE_TAMPER_RUNS", u64::from(runs))];
    settings.extend(seed.map(|seed| ("LOGLINE_TAMPER_SEED", seed)));
    longer("tampering::", &settings)
}

/// A test of the suite that takes its length from the environment.
fn longer(filter: &str, settings: &[(&str, u64)]) -> anyhow::Result<()> {
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
    for (name, value) in settings {
        command.env(name, value.to_string());
    }
    run(command)
}
