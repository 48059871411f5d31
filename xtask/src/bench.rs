use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use cargo_metadata::{MetadataCommand, TargetKind};
use serde_json::Value;

use crate::workspace::{cargo, root};

/// The columns of the table, which are the keys of a result.
const COLUMNS: [&str; 5] = ["measure", "limit", "ours", "ratio", "unit"];

/// Runs the bench targets one after another: together they would measure each other.
pub(crate) fn bench(names: &[String]) -> anyhow::Result<()> {
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for (package, target) in targets()? {
        if names.is_empty() || names.contains(&target) {
            eprintln!("+ {package}: {target}");
            match measure(&target) {
                Ok(found) => results.extend(found),
                Err(error) => failures.push(format!("{package}, {target}: {error:#}")),
            }
        }
    }
    let file = root().join("target/bench.jsonl");
    let lines: String = results.iter().map(|result| format!("{result}\n")).collect();
    fs::create_dir_all(root().join("target"))
        .and_then(|()| fs::write(&file, lines))
        .context("cannot write the results")?;
    print!("{}", table(&results));
    ensure!(
        failures.is_empty(),
        "not measured:\n{}",
        failures.join("\n")
    );
    Ok(())
}

fn targets() -> anyhow::Result<Vec<(String, String)>> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        let benches = package
            .targets
            .iter()
            .filter(|target| target.kind.contains(&TargetKind::Bench));
        found.extend(benches.map(|target| (package.name.to_string(), target.name.clone())));
    }
    found.sort();
    Ok(found)
}

fn measure(target: &str) -> anyhow::Result<Vec<Value>> {
    // The whole workspace, so that no bench builds the dependencies anew with features of its own.
    let mut command = cargo(&["bench", "--quiet", "--workspace", "--bench", target]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the bench")?;
    let output = child.stdout.take().context("the bench has no output")?;
    let results = read(output);
    if results.is_err() {
        // What it says nobody reads any more, and it would run on beside the next.
        let _ = child.kill();
    }
    let status = child.wait().context("cannot wait for the bench")?;
    let results = results?;
    ensure!(status.success(), "the bench failed");
    ensure!(!results.is_empty(), "the bench printed no result");
    Ok(results)
}

fn read(output: impl Read) -> anyhow::Result<Vec<Value>> {
    let mut results = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the output of the bench")?;
        match parse(&line)? {
            Some(result) => results.push(result),
            None => eprintln!("{line}"),
        }
    }
    Ok(results)
}

/// A result is one JSON object per line; anything else is talk.
fn parse(line: &str) -> anyhow::Result<Option<Value>> {
    if !line.starts_with('{') {
        return Ok(None);
    }
    let result: Value =
        serde_json::from_str(line).with_context(|| format!("not a result: {line}"))?;
    for column in COLUMNS {
        ensure!(
            result.get(column).is_some(),
            "a result without `{column}`: {line}"
        );
    }
    Ok(Some(result))
}

fn table(results: &[Value]) -> String {
    let header = COLUMNS.map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(header)
        .chain(
            results
                .iter()
                .map(|result| COLUMNS.map(|column| cell(result.get(column)))),
        )
        .collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for [measure, limit, ours, ratio, unit] in &rows {
        let [w0, w1, w2, w3, _] = widths;
        text.push_str(
            format!("{measure:w0$}  {limit:>w1$}  {ours:>w2$}  {ratio:>w3$}  {unit}").trim_end(),
        );
        text.push('\n');
    }
    text
}

/// Numbers with as many digits as anybody compares.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(number) if number.abs() >= 1000.0 => format!("{number:.0}"),
            Some(number) if number.abs() >= 10.0 => format!("{number:.1}"),
            Some(number) => format!("{number:.3}"),
            None => number.to_string(),
        },
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_one_aligned_table() {
        let line = r#"{"measure":"sealed rate","limit":30000,"ours":12000.5,"ratio":0.4,"unit":"spans/s"}"#;
        let other = r#"{"measure":"p50","limit":null,"ours":1.25,"ratio":null,"unit":"ms"}"#;
        let results = [line, other].map(|line| parse(line).unwrap().unwrap());
        let expected = "\
measure      limit   ours  ratio  unit
sealed rate  30000  12000  0.400  spans/s
p50              –  1.250      –  ms
";
        assert_eq!(table(&results), expected);
    }

    #[test]
    fn talk_is_no_result_and_half_a_result_is_refused() {
        assert!(parse("running 1 test").unwrap().is_none());
        assert!(parse(r#"{"measure":"p50"}"#).is_err());
    }
}
