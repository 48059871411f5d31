//! Programs of others that put load on the same stack: the `nats` client's bench, and k6.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    scale::Scale,
    stack::{Addresses, Stack},
    table::{Level, Table},
};

/// A stream of the bench's own, as far from ours as a stream of the same server can be.
const STREAM: &str = "LOADTEST";
const SUBJECT: &str = "loadtest.bench";

/// Bytes of one message: those of a usual span.
const MESSAGE_BYTES: &str = "800";

/// The code with which k6 ends where a threshold is crossed; others mean that it could not run.
const THRESHOLD_CROSSED: i32 = 99;

/// How long the tokens of the stream's readers live: the second is still good when the first has ended.
const FIRST_TTL: &str = "12s";
const SECOND_TTL: &str = "24s";

/// How fast this server stores messages of the same size on this disk, without LogLine: what the sealed rate is held against.
#[expect(
    clippy::unused_async,
    reason = "scenarios are awaited alike; nothing else runs beside a bench"
)]
pub(crate) async fn nats(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let messages = scale.bench_messages.to_string();
    let bench = [
        "bench",
        "js",
        "pub",
        "async",
        SUBJECT,
        "--create",
        "--stream",
        STREAM,
        "--storage",
        "file",
        "--size",
        MESSAGE_BYTES,
        "--msgs",
        &messages,
        "--no-progress",
    ];
    let benched = client(addresses, &bench);
    let removed = client(addresses, &["stream", "rm", STREAM, "--force"]);
    let rate = rate(&benched?).context("the bench printed no rate")?;
    removed.context("the bench's stream is left")?;
    table.add(
        "nats bench: messages stored a second",
        Level::Least(1.0),
        rate,
    );
    Ok(())
}

fn client(addresses: &Addresses, arguments: &[&str]) -> Result<String> {
    let output = Command::new("nats")
        .args(arguments)
        // Not as an argument: those of a process are for everyone to read.
        .env("NATS_URL", &addresses.nats_admin)
        .stdin(Stdio::null())
        .output()
        .context("cannot run the nats client: `make setup` installs it, and PATH must hold it")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "`nats {}` failed: {said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// The figure of `… stats: 12,345 msgs/sec ~ …`.
fn rate(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("stats: ")?;
    let (figure, _) = rest.split_once(" msgs/sec")?;
    figure.replace(',', "").parse().ok()
}

/// Runs the scripts, each of which holds its own thresholds. That of the stream wants tokens that end soon, which only a
/// stack of our own makes for it.
#[expect(
    clippy::unused_async,
    reason = "scenarios are awaited alike; nothing else runs beside k6"
)]
pub(crate) async fn k6(stack: &Stack, scale: &Scale, table: &mut Table) -> Result<()> {
    script("publish.js", &[], stack.addresses(), scale, table)?;
    let (Some(first), Some(second)) = (stack.token(FIRST_TTL)?, stack.token(SECOND_TTL)?) else {
        return Ok(());
    };
    let tokens = [
        ("LOGLINE_TOKEN_FIRST", first),
        ("LOGLINE_TOKEN_SECOND", second),
    ];
    script("stream.js", &tokens, stack.addresses(), scale, table)
}

fn script(
    name: &str,
    tokens: &[(&str, String)],
    addresses: &Addresses,
    scale: &Scale,
    table: &mut Table,
) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("k6").join(name);
    let status = Command::new("k6")
        .args(["run", "--quiet", "--no-usage-report"])
        .arg(path)
        .env("LOGLINE_API", &addresses.api)
        .env("LOGLINE_TOKEN", &addresses.token)
        .envs(tokens.iter().map(|(key, token)| (key, token)))
        .env("LOGLINE_LOAD_USERS", scale.k6_users.to_string())
        .env("LOGLINE_LOAD_SECONDS", scale.k6_s.to_string())
        .stdin(Stdio::null())
        .status()
        .context("cannot run k6: `sh deploy/setup.sh --load` installs it, and PATH must hold it")?;
    let crossed = match status.code() {
        Some(0) => 0,
        Some(THRESHOLD_CROSSED) => 1,
        _ => bail!("k6 ended with {status} in {name}"),
    };
    table.count(
        format!("k6 {name}: thresholds crossed"),
        Level::Most(0.0),
        crossed,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_the_bench_says() {
        let said = "NATS JetStream asynchronous publisher stats: 2,337 msgs/sec ~ 1.8 MiB/sec ~ min: 66,082.17us";
        assert_eq!(rate(said), Some(2337.0));
        assert_eq!(rate("nothing"), None);
    }
}
