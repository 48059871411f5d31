//! `docs/psql.md` as a person would follow it, with the real psql (SQL-1).

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use logline_testkit::deadline;
use serde_json::Value;

use crate::{
    process::{Stack, answer, logline},
    system::{Part, System},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A statement of the page, whether it is to fail, and what psql says to it.
struct Example {
    sql: String,
    is_refused: bool,
    said: String,
}

/// Fenced blocks, `sql` each followed by its `text`.
fn examples(page: &str) -> Vec<Example> {
    let mut blocks = page.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        let (kind, sql) = block.split_once('\n').unwrap();
        if !kind.starts_with("sql") {
            continue;
        }
        let (text, said) = blocks.next().unwrap().split_once('\n').unwrap();
        assert_eq!(text, "text", "{sql}");
        examples.push(Example {
            sql: sql.to_owned(),
            is_refused: kind == "sql error",
            said: said.to_owned(),
        });
    }
    examples
}

fn psql(directory: &Path, sql: &str) -> Output {
    // Standard input, as at a terminal: `-c` would make one transaction of the statements.
    let file = directory.join("example.sql");
    std::fs::write(&file, sql).unwrap();
    logline()
        .args(["psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"])
        .current_dir(directory)
        .stdin(Stdio::from(std::fs::File::open(file).unwrap()))
        .output()
        .unwrap()
}

/// Asks until nothing waits any longer: a row that has left the outbox is sealed or refused.
fn sealed(directory: &Path) {
    let began = Instant::now();
    let waiting = "select count(*) || ' wait' from ledger.my_outbox";
    while !String::from_utf8_lossy(&psql(directory, waiting).stdout).contains(" 0 wait") {
        assert!(began.elapsed() < PATIENCE, "rows stay in the outbox");
    }
}

#[tokio::test]
async fn every_example_of_the_page_says_what_it_says_there() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/psql.md");
    let examples = examples(&std::fs::read_to_string(page).unwrap());
    assert!(examples.len() > 10);
    for example in examples {
        let output = psql(directory.path(), &example.sql);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        // Where in the script an error is, and which function raised it, is no part of the page.
        let said: String = said
            .lines()
            .filter(|line| {
                !line.starts_with("CONTEXT:")
                    && !line.starts_with("PL/pgSQL")
                    && !line.starts_with("SQL ")
            })
            .map(|line| {
                line.strip_prefix("psql:<stdin>:")
                    .map_or(line, |rest| rest.split_once(": ").unwrap().1)
            })
            .flat_map(|line| [line.trim_end(), "\n"])
            .collect();
        assert_eq!(said, example.said, "{}", example.sql);
        assert_eq!(
            output.status.success(),
            !example.is_refused,
            "{}",
            example.sql
        );
        sealed(directory.path());
    }
    stack.stop();
}

#[tokio::test]
async fn a_login_is_made_for_one_person_and_is_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    let made = answer(
        directory.path(),
        &[
            "token",
            "psql",
            "alice at acme",
            "--tenant",
            "acme",
            "--principal",
            "alice@acme.com",
        ],
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let ask = |sql: &str| {
        let output = Command::new(logline_testkit::psql())
            .args([made["url"].as_str().unwrap(), "-XAtc", sql])
            .output()
            .unwrap();
        (
            String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (who, _) = ask(
        "select current_setting('app.tenant_id'), current_setting('app.user_id'), app.current_user_id()",
    );
    assert_eq!(who, "acme|alice@acme.com|alice@acme.com");
    let (_, error) = ask(
        "set app.user_id = 'bob'; insert into ledger.universal_registry (entity_type, who, \"this\") values ('activity', 'a', 'b')",
    );
    assert!(error.contains("has not proved to be"), "{error}");
    let refused = crate::process::run(
        directory.path(),
        &[
            "token",
            "psql",
            "x",
            "--tenant",
            "acme",
            "--principal",
            "edge:observer",
        ],
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a principal of the system"));
    stack.stop();
}

/// The relay and the projector die as often as they like.
#[tokio::test]
async fn processes_that_are_killed_lose_and_double_nothing() {
    const ROWS: u32 = 200;
    let system = System::start().await;
    let directory: PathBuf = system.directory.path().to_path_buf();
    let made = answer(
        &directory,
        &[
            "token",
            "psql",
            "alice",
            "--tenant",
            "acme",
            "--principal",
            "alice",
            "--config",
            "logline.toml",
        ],
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let url = made["url"].as_str().unwrap().to_owned();
    let ask = move |sql: &str| {
        let output = Command::new(logline_testkit::psql())
            .args([&url, "-XAtqc", sql])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let mut relay = Part::start(&directory, "outbox");
    let mut projector = Part::start(&directory, "projector");
    for batch in 0..10 {
        ask(&format!(
            "insert into ledger.universal_registry (entity_type, who, \"this\") select 'activity', 'alice', n::text
             from generate_series({}, {}) n",
            batch * ROWS / 10 + 1,
            (batch + 1) * ROWS / 10
        ));
        let killed = if batch % 3 == 2 {
            &mut projector
        } else {
            &mut relay
        };
        killed.kill();
        *killed = Part::start(&directory, killed.roles);
    }
    deadline(PATIENCE, async {
        while ask("select count(*) from ledger.my_outbox") != "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let kept = "select count(*), count(distinct \"this\"), max(position), (select count(*) from ledger.my_refusals) from ledger.universal_registry";
    assert_eq!(ask(kept), format!("{ROWS}|{ROWS}|{ROWS}|0"));
}
