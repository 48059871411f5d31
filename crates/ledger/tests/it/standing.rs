use logline_ledger::{AsOf, Given, Role, Verifier};
use logline_span::{Hash, PublicKey, Signature, Span};
use sqlx::Executor as _;

use crate::support::{Ledger, json, person, principal, span, state, tenant, with};

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dana"];

fn act(of: &str, author: &str, entity_type: &str, whom: &str, value: &str) -> Span {
    let name = if entity_type.starts_with("role") {
        "role"
    } else {
        "public_key"
    };
    with(span(of, author), |span| {
        span.entity_type = entity_type.parse().unwrap();
        span.this = whom.to_owned();
        span.metadata = json(&format!("{{\"{name}\":\"{value}\"}}"));
    })
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

/// Numerical Recipes' generator: good enough to shuffle a test.
struct Draw(u32);

impl Draw {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = usize::try_from(self.0 >> 16).unwrap();
        *choices.get(number % choices.len()).unwrap()
    }
}

/// Acts drawn from a small world, so that many of them meet; the same every time.
fn drawn(seed: u32) -> Vec<Span> {
    let mut draw = Draw(seed);
    let first = act("acme", "bootstrap:seed", "role_grant", "alice", "admin");
    let types = [
        "role_grant",
        "role_grant",
        "role_revoke",
        "key",
        "key",
        "key_revoke",
    ];
    let rest = (0..300).map(|_| {
        let (author, whom) = (draw.of(&PEOPLE), draw.of(&PEOPLE));
        let of = draw.of(&["acme", "acme", "acme", "globex"]);
        let entity_type = draw.of(&types);
        let value = if entity_type.starts_with("role") {
            draw.of(&["admin", "auditor", "No Role"]).to_owned()
        } else {
            key(draw.of(&[0, 1, 2])).to_string()
        };
        let mut act = act(of, author, entity_type, whom, &value);
        act.is_deleted = draw.of(&[false, false, false, true]);
        if draw.of(&[true, false]) {
            act.public_key = Some(key(draw.of(&[0, 1, 2])));
            act.signature = Some(Signature::from_bytes([1; 64]));
        }
        act
    });
    [first].into_iter().chain(rest).collect()
}

async fn holds(verifier: &Verifier) -> bool {
    let findings = verifier.inspect().await.unwrap();
    let found = findings.iter().find(|it| it.name.contains("GOV-6"));
    found.unwrap().result.is_ok()
}

/// GOV-6, GOV-7: what is kept is what the chain says, however the acts fall into batches.
#[tokio::test]
async fn what_is_kept_of_roles_and_keys_is_what_the_chain_says() {
    for seed in [1, 2, 3] {
        let ledger = Ledger::fresh().await;
        let mut sealer = ledger.sealer().await;
        let verifier = ledger.verifier();
        let acts = drawn(seed);
        for batch in acts.chunks(17) {
            sealer.seal(batch.to_vec()).await;
            assert!(holds(&verifier).await, "seed {seed}");
        }
        let session = ledger.reader().as_reader(Some(&person("acme", "carol")));
        let kept = session.standing(AsOf::Latest).await.unwrap();
        assert!(kept.iter().any(|it| it.given == Given::Role));
        assert!(kept.iter().any(|it| it.given == Given::Key), "seed {seed}");
        assert!(kept.iter().all(|it| it.value != "No Role"));
        let foreign = ledger.reader().as_reader(Some(&person("globex", "alice")));
        assert_eq!(
            foreign.standing(AsOf::Latest).await.unwrap(),
            [],
            "nobody was seeded there"
        );
        let mut admin = ledger.admin().await;
        admin
            .execute("update app.standing set principal = 'mallory' where until_position is null")
            .await
            .unwrap();
        assert!(!holds(&verifier).await, "a change by hand is noticed");
    }
}

/// What a chain held before this release is taken in by the migration, in the same way.
#[tokio::test]
async fn acts_that_were_sealed_before_are_taken_in() {
    let ledger = Ledger::fresh().await;
    ledger.sealer().await.seal(drawn(4)).await;
    let mut admin = ledger.admin().await;
    admin.execute("delete from app.standing").await.unwrap();
    assert!(!holds(&ledger.verifier()).await);
    let migration = include_str!("../../../../migrations/0013_access.sql");
    let begin = migration.find("do $$").unwrap();
    let end = begin + migration[begin..].find("$$;").unwrap() + 3;
    admin.execute(&migration[begin..end]).await.unwrap();
    assert!(holds(&ledger.verifier()).await);
}

/// Anybody may publish anything under these types: nothing of it may stop the ledger.
#[tokio::test]
async fn an_act_that_is_nonsense_has_no_effect() {
    let ledger = Ledger::fresh().await;
    let long = format!("{{\"role\":\"{}\"}}", "a".repeat(100_000));
    let texts = [
        "null",
        "5",
        "\"role\"",
        "[]",
        "[\"role\"]",
        "{}",
        "{\"role\":null}",
        "{\"role\":5}",
        "{\"role\":[\"admin\"]}",
        "{\"role\":{\"role\":\"admin\"}}",
        "{\"role\":\"\"}",
        "{\"role\":\"admin\\n\"}",
        &long,
        "{\"public_key\":\"00\"}",
    ];
    let mut acts = Vec::new();
    for entity_type in ["role_grant", "role_revoke", "key", "key_revoke"] {
        for whom in ["alice", "", &"x".repeat(10_000)] {
            for metadata in texts.iter().map(|text| json(text)).chain([None]) {
                acts.push(with(
                    act("acme", "bootstrap:seed", entity_type, whom, ""),
                    |act| {
                        act.metadata = metadata;
                    },
                ));
            }
        }
    }
    ledger.sealer().await.seal(acts).await;
    let session = ledger.reader().as_reader(Some(&person("acme", "alice")));
    assert_eq!(session.standing(AsOf::Latest).await.unwrap(), []);
    assert!(holds(&ledger.verifier()).await);
}

#[tokio::test]
async fn the_tables_are_the_owners_alone() {
    let ledger = Ledger::fresh().await;
    for role in Role::ALL {
        let mut login = ledger.login(role).await;
        for table in ["app.api_key", "app.standing"] {
            for statement in [
                format!("select * from {table}"),
                format!("delete from {table}"),
                format!("insert into {table} default values"),
            ] {
                let refused = login.execute(statement.as_str()).await;
                assert_eq!(state(refused), "42501", "{}: {statement}", role.name());
            }
        }
        let asked = login
            .execute(r"select * from app.holder_of('\x00'::bytea)")
            .await;
        assert_eq!(asked.is_ok(), role == Role::Reader, "{}", role.name());
    }
    let reader = ledger.reader();
    assert_eq!(reader.api_key(&Hash::of(b"guess")).await.unwrap(), None);
    let roles = reader.roles(&tenant("acme"), &principal("alice")).await;
    assert!(roles.unwrap().is_empty());
}
