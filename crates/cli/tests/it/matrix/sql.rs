//! The ways of SQL: people's own logins, and the API's.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
};

use logline_ledger::{AsOf, ClientLogin, IdentityKey, Query, bind_login};
use logline_span::Reader;
use uuid::Uuid;

use super::{Fact, Route, Scope, Shown, TARGET, check, facts, readers, seal};
use crate::system::{Part, System};

/// The least number of questions that a run asks.
const QUESTIONS_MIN: usize = 5_000;

/// psql, under a login of each reader's own.
struct Psql {
    /// The address of each reader's login; for nobody, of one that says so.
    urls: BTreeMap<String, String>,
}

impl Psql {
    async fn new(system: &System) -> Self {
        let mut urls = BTreeMap::new();
        for (number, reader) in (0..).zip(readers()) {
            let login = ClientLogin {
                name: format!("reader {number}"),
                password: "password".to_owned(),
                reader: reader.clone().unwrap_or_else(|| Reader {
                    tenant: "acme".parse().unwrap(),
                    principal: "nobody".parse().unwrap(),
                }),
            };
            let admin = system.postgres.superuser_url();
            let url = bind_login(&admin, &login).await.unwrap();
            urls.insert(name(reader.as_ref()), url);
        }
        Self { urls }
    }

    /// Runs a script as a reader; the lines that it prints.
    fn run(&self, reader: Option<&Reader>, script: &str) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = match reader {
            Some(_) => "",
            None => "set app.tenant_id = ''; set app.user_id = '';\n",
        };
        std::fs::write(file.path(), format!("{identity}{script}")).unwrap();
        let output = Command::new(logline_testkit::psql())
            .args([
                &self.urls[&name(reader)],
                "-XAtq",
                "--set",
                "ON_ERROR_STOP=1",
                "--file",
            ])
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn name(reader: Option<&Reader>) -> String {
    reader.map_or_else(String::new, |reader| {
        format!("{}/{}", reader.tenant, reader.principal)
    })
}

/// Each question with what it asks of the ledger. `{}` is a condition about one id.
const QUESTIONS: [(&str, Scope); 6] = [
    (
        "select id, seq from ledger.universal_registry where entity_type = 'matrix' and {id}",
        Scope::Versions,
    ),
    (
        "select id, seq from ledger.visible_timeline where entity_type = 'matrix' and {id}",
        Scope::Latest,
    ),
    // The planner may put a condition that is not leakproof first only where row-level security lets it.
    (
        "select id, seq from ledger.universal_registry where entity_type ~ '^mat' and length(\"this\") / length(who) = 1 and {id}",
        Scope::Versions,
    ),
    (
        "select id, seq from ledger.visible_timeline where metadata ? 'of' and {id}",
        Scope::Latest,
    ),
    (
        "select id, seq from ledger.related where target = '{target}' and {id}",
        Scope::Versions,
    ),
    (
        "select id, seq from ledger.metadata_contains('{\"of\": \"{of}\"}')",
        Scope::Versions,
    ),
];

impl Route for Psql {
    async fn read(&self, reader: Option<&Reader>, facts: &[Fact]) -> Vec<Shown> {
        let ids: BTreeSet<Uuid> = facts.iter().map(|fact| fact.id).collect();
        let abouts = [None].into_iter().chain(ids.into_iter().map(Some));
        let asked: Vec<_> = abouts
            .flat_map(|about| QUESTIONS.map(|(sql, scope)| (about, sql, scope)))
            // One question is about one id by its nature.
            .filter(|(about, sql, _)| about.is_some() || !sql.contains("{of}"))
            .collect();
        let script: String = (0..)
            .zip(&asked)
            .map(|(number, (about, sql, _))| {
                let id = about.map_or_else(|| "true".to_owned(), |id| format!("id = '{id}'"));
                let of = about.map_or_else(String::new, |id| id.to_string());
                let sql = sql
                    .replace("{id}", &id)
                    .replace("{of}", &of)
                    .replace("{target}", TARGET);
                format!("select {number}, q.* from ({sql}) q;\n")
            })
            .collect();
        let mut answers: BTreeMap<usize, BTreeSet<(Uuid, u32)>> = BTreeMap::new();
        for line in self.run(reader, &script) {
            let mut cells = line.split('|');
            let mut cell = || cells.next().unwrap();
            let number = cell().parse().unwrap();
            let version = (cell().parse().unwrap(), cell().parse().unwrap());
            answers.entry(number).or_default().insert(version);
        }
        (0..)
            .zip(asked)
            .map(|(number, (about, sql, scope))| Shown {
                by: sql.to_owned(),
                scope,
                about,
                versions: answers.remove(&number).unwrap_or_default(),
            })
            .collect()
    }
}

/// The API's login, which proves for whom it reads.
struct ApiLogin(logline_ledger::Reader);

impl Route for ApiLogin {
    async fn read(&self, reader: Option<&Reader>, facts: &[Fact]) -> Vec<Shown> {
        let session = self.0.as_reader(reader);
        let query = Query {
            limit: Query::LIMIT_MAX,
            ..Query::default()
        };
        let page = session.timeline(&query).await.unwrap();
        let version =
            |sealed: &logline_span::Sealed| (*sealed.span.id.as_uuid(), sealed.span.seq.get());
        let mut shown = vec![Shown {
            by: "timeline".to_owned(),
            scope: Scope::Latest,
            about: None,
            versions: page.spans.iter().map(version).collect(),
        }];
        let ids: BTreeSet<Uuid> = facts.iter().map(|fact| fact.id).collect();
        for id in ids {
            let mut versions = BTreeSet::new();
            for seq in [0, 1] {
                let id = logline_span::SpanId::from_uuid(id);
                let found = session.get(id, logline_span::Seq::new(seq), AsOf::Latest);
                versions.extend(found.await.unwrap().as_ref().map(version));
            }
            shown.push(Shown {
                by: "get".to_owned(),
                scope: Scope::Versions,
                about: Some(id),
                versions,
            });
        }
        shown
    }
}

#[tokio::test]
async fn every_way_of_sql_shows_each_reader_what_the_rule_gives_and_no_more() {
    let system = System::start().await;
    let _projector = Part::start(system.directory.path(), "projector");
    let facts = facts();
    seal(&system, &facts).await;
    let psql = Psql::new(&system).await;
    let api = ApiLogin(
        logline_ledger::Reader::connect(
            &logline_ledger::Config {
                url: system
                    .postgres
                    .url("logline_reader", "password", "postgres"),
                connections_max: 1,
                acquire_timeout: super::PATIENCE,
                application_name: "matrix".to_owned(),
            },
            IdentityKey::from_bytes([0x55; IdentityKey::LEN]),
        )
        .unwrap(),
    );
    let asked = check(&psql, &facts).await + check(&api, &facts).await;
    assert!(asked >= QUESTIONS_MIN, "{asked}");
}

/// What waits and what was refused is its owner's, whatever else the tenant shares.
#[tokio::test]
async fn the_outbox_and_refusals_are_shown_to_their_owner_alone() {
    let system = System::start().await;
    let _projector = Part::start(system.directory.path(), "projector");
    let psql = Psql::new(&system).await;
    let people: Vec<Reader> = readers().into_iter().flatten().collect();
    // An id is its first owner's within a tenant.
    let insert = |number: usize, seq: u32| {
        format!(
            "insert into ledger.universal_registry (id, seq, entity_type, who, \"this\", visibility) values ('7a0c6c3e-66a5-4d0c-9a33-{number:012}', {seq}, 'matrix', 'w', 't', 'public');\n"
        )
    };
    for (number, reader) in people.iter().enumerate() {
        psql.run(Some(reader), &(insert(number, 1) + &insert(number, 0)));
    }
    let mut relay = Part::start(system.directory.path(), "outbox");
    let waiting = "select count(*) from ledger.my_outbox;";
    logline_testkit::deadline(super::PATIENCE, async {
        for reader in &people {
            while psql.run(Some(reader), waiting) != ["0"] {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    relay.kill();
    for (number, reader) in people.iter().enumerate() {
        psql.run(Some(reader), &insert(number, 2));
    }
    for reader in readers() {
        for view in ["my_outbox", "my_refusals"] {
            let sql = format!("select tenant_id || '/' || owner_id from ledger.{view};");
            let due: Vec<String> = reader.iter().map(|reader| name(Some(reader))).collect();
            assert_eq!(psql.run(reader.as_ref(), &sql), due, "{view}");
        }
    }
}
