use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;

use crate::workspace::{cargo, root, run};

/// How the load test runs.
#[derive(clap::Args)]
pub(crate) struct Load {
    /// Seconds instead of minutes: to see that every scenario works
    #[arg(long)]
    short: bool,
    /// Take what the debug build has, whose figures say little
    #[arg(long)]
    debug: bool,
    /// Run the scripts of `loadtest/k6` too; `sh deploy/setup.sh --load` installs k6
    #[arg(long)]
    k6: bool,
    /// File with the addresses of a stack that runs, such as `.logline/stack.json`
    #[arg(long)]
    stack: Option<PathBuf>,
    /// Only these scenarios
    scenarios: Vec<String>,
}

/// Builds the load test and the program under load, and runs the one against the other.
pub(crate) fn load(load: &Load) -> anyhow::Result<()> {
    // The whole workspace, so that no dependency is built anew with features of its own.
    let mut build = vec!["build", "--workspace"];
    build.extend((!load.debug).then_some("--release"));
    run(cargo(&build))?;
    let profile = if load.debug { "debug" } else { "release" };
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()?;
    let programs = metadata.target_directory.into_std_path_buf().join(profile);
    loadtest(&programs, load)
}

fn loadtest(programs: &Path, load: &Load) -> anyhow::Result<()> {
    let mut command = Command::new(programs.join("logline-loadtest"));
    command.args(&load.scenarios).env("PATH", with_tools()?);
    command.args(load.short.then_some("--short"));
    command.args(load.k6.then_some("--k6"));
    if let Some(file) = &load.stack {
        command.arg("--stack").arg(file);
    }
    let status = command.status().context("cannot run the load test")?;
    ensure!(status.success(), "the load test failed");
    Ok(())
}

/// Where programs are looked for, with the place where `deploy/setup.sh` puts them.
#[expect(
    clippy::disallowed_methods,
    reason = "the place is a matter of the user's environment, as in the script"
)]
fn with_tools() -> anyhow::Result<OsString> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let tools = cache.map(|cache| cache.join("logline/tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(tools)).context("PATH holds a strange directory")
}
