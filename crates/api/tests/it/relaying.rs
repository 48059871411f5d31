//! SQL-1: what a client inserts comes back sealed, once, whatever happens to the relay in between.

use std::{process::Command, sync::Arc, time::Duration};

use logline_api::{OnStep, RelayConfig, RelayHealth, RelayStep};
use logline_testkit::deadline;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, World};

/// What `psql` prints for a script, and what it says on its error output.
fn psql(url: &str, script: &str) -> (String, String) {
    let output = Command::new(logline_testkit::psql())
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
        .args(["--set", "VERBOSITY=verbose", "--command", script, url])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What a statement that must succeed prints.
fn said(url: &str, script: &str) -> String {
    let (said, error) = psql(url, script);
    assert_eq!(error, "", "{script}");
    said
}

fn insert(id: &str, seq: u32, this: &str) -> String {
    format!(
        "insert into ledger.universal_registry (id, seq, entity_type, who, did, \"this\", at, status, owner_id, tenant_id, visibility, metadata)
         values ('{id}', {seq}, 'activity', 'alice', 'opened', '{this}', now(), 'complete', 'alice', 'acme', 'private', '{{\"n\": 1.50}}')"
    )
}

/// A relay that runs, and says when it has taken rows out of the outbox.
struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    settled: Arc<Notify>,
}

impl Running {
    async fn start(world: &World) -> Self {
        let settled = Arc::new(Notify::new());
        let on_step: OnStep = {
            let settled = Arc::clone(&settled);
            Arc::new(move |step| {
                if step == RelayStep::Settled {
                    settled.notify_one();
                }
            })
        };
        let relay = world.relay(RelayConfig::STANDARD, Some(on_step)).await;
        let mut health = relay.health();
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(relay.run(stop.clone()));
        let active = health.wait_for(|health| *health == RelayHealth::Active);
        drop(deadline(PATIENCE, active).await.unwrap());
        Self {
            tasks,
            stop,
            settled,
        }
    }

    /// Waits until nothing of the login's waits any longer.
    async fn empty(&self, url: &str) {
        deadline(PATIENCE, async {
            while said(url, "select count(*) from ledger.my_outbox") != "0" {
                self.settled.notified().await;
            }
        })
        .await;
    }

    async fn stop(mut self) {
        self.stop.cancel();
        deadline(PATIENCE, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
    }
}

const ID: &str = "7a0c6c3e-66a5-4d0c-9a33-1f1f6c0d1f10";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_inserts_comes_back_sealed() {
    let world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    let relay = Running::start(&world).await;
    let inserted = Command::new(logline_testkit::psql())
        .args(["--no-psqlrc", "--command", &insert(ID, 0, "door"), &url])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&inserted.stdout).trim(),
        "INSERT 0 1"
    );
    relay.empty(&url).await;
    let row = format!(
        "select seq, entity_type, who, did, \"this\", status, owner_id, tenant_id, visibility, metadata, published_by, position,
             idempotency_key is not null from ledger.visible_timeline where id = '{ID}'"
    );
    assert_eq!(
        said(&url, &row),
        "0|activity|alice|opened|door|complete|alice|acme|private|{\"n\": 1.5}|alice|1|t"
    );

    // What is left out is filled in, and the returned row says with what.
    let returned = said(
        &url,
        "insert into ledger.universal_registry (entity_type, who, \"this\") values ('activity', 'alice', 'window')
         returning id is not null, seq, visibility, is_deleted, tenant_id, owner_id, idempotency_key is not null, at is null",
    );
    assert_eq!(returned, "t|0|private|f|acme|alice|t|t");
    relay.empty(&url).await;
    let window = "select count(*) from ledger.visible_timeline where \"this\" = 'window' and at = received_at";
    assert_eq!(said(&url, window), "1");

    // Every field takes the way there and back.
    let full = "insert into ledger.universal_registry (id, seq, entity_type, who, did, \"this\", at, parent_id, related_to, visibility, status,
            is_deleted, name, description, code, language, runtime, input, output, error, content, duration_ms, trace_id, metadata,
            idempotency_key, caused_by)
        values ('00000000-0000-4000-8000-000000000001', 3, 'test.full', 'w', 'd', 't', '2020-02-29 23:59:59.123456+05:30',
            '00000000-0000-4000-8000-000000000002', array['00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000003']::uuid[],
            'tenant', 's', false, 'n', 'de', 'co', 'la', 'ru', '{\"a\": null}', '[1]', '\"e\"', '{\"b\": {\"c\": [null]}}', 7,
            '0123456789abcdef0123456789abcdef', '{}', 'my key', '00000000-0000-4000-8000-000000000004')";
    said(
        &url,
        &format!("set timezone = 'Asia/Kolkata'; set datestyle = 'German'; {full}"),
    );
    relay.empty(&url).await;
    let back = "set timezone = 'UTC'; select seq, entity_type, who, did, \"this\", at, parent_id, related_to, visibility, status, is_deleted, name,
            description, code, language, runtime, input, output, error, content, duration_ms, trace_id, metadata, idempotency_key, caused_by
        from ledger.universal_registry where entity_type = 'test.full'";
    assert_eq!(
        said(&url, back),
        "3|test.full|w|d|t|2020-02-29 18:29:59.123456+00|00000000-0000-4000-8000-000000000002|\
         {00000000-0000-4000-8000-000000000003,00000000-0000-4000-8000-000000000003}|tenant|s|f|n|de|co|la|ru|{\"a\": null}|[1]|\"e\"|\
         {\"b\": {\"c\": [null]}}|7|0123456789abcdef0123456789abcdef|{}|my key|00000000-0000-4000-8000-000000000004"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_after_the_commit_is_shown_to_whom_it_belongs() {
    let world = World::new().await;
    let alice = world.sql_login("acme", "alice").await;
    let bob = world.sql_login("acme", "bob@acme.com").await;
    let relay = Running::start(&world).await;
    said(
        &alice,
        &format!("{}; {}", insert(ID, 4, "door"), insert(ID, 3, "door")),
    );
    let unsafe_number = insert("7a0c6c3e-66a5-4d0c-9a33-1f1f6c0d1f11", 0, "door")
        .replace("1.50", "9007199254740993");
    said(&alice, &unsafe_number);
    relay.empty(&alice).await;
    let refusals = "select id, seq, entity_type, code, pointer, detail <> '' from ledger.my_refusals order by code";
    assert_eq!(
        said(&alice, refusals),
        format!(
            "7a0c6c3e-66a5-4d0c-9a33-1f1f6c0d1f11|0|activity|unsafe_number|/metadata/n|t\n{ID}|3|activity|version_stale|/seq|t"
        )
    );
    assert_eq!(
        said(
            &alice,
            "select count(*), max(seq) from ledger.visible_timeline"
        ),
        "1|4"
    );
    assert_eq!(said(&bob, "select count(*) from ledger.my_refusals"), "0");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_receipt_does_not_come_is_published_again_and_sealed_once() {
    let mut world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    world.kill_projector().await;
    said(&url, &insert(ID, 0, "door"));
    let (steps, mut seen) = mpsc::channel(64);
    let on_step: OnStep = Arc::new(move |step| {
        // Whoever has seen enough hears no more.
        let _ = steps.try_send(step);
    });
    let config = RelayConfig {
        receipt_wait: Duration::from_millis(50),
        receipt_wait_max: Duration::from_millis(100),
    };
    let relay = world.relay(config, Some(on_step)).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(relay.run(CancellationToken::new()));
    let mut until = async |due: RelayStep| {
        deadline(PATIENCE, async {
            while seen.recv().await.unwrap() != due {}
        })
        .await;
    };
    for _ in 0..3 {
        until(RelayStep::Published).await;
    }
    world.start_projector().await;
    until(RelayStep::Settled).await;
    let kept = "select count(*), max(position), (select count(*) from ledger.my_outbox) from ledger.universal_registry";
    assert_eq!(said(&url, kept), "1|1|0");
}

/// A relay that is killed at a step, by a panic that no code of its own sees.
async fn killed_at(world: &World, step: RelayStep) {
    let on_step: OnStep = Arc::new(move |now| {
        if now == step {
            std::panic::resume_unwind(Box::new("killed"));
        }
    });
    let relay = world.relay(RelayConfig::STANDARD, Some(on_step)).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(relay.run(CancellationToken::new()));
    let ended = deadline(PATIENCE, tasks.join_next()).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_between_any_two_steps_loses_and_doubles_nothing() {
    let world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    let steps = [
        RelayStep::Read,
        RelayStep::Published,
        RelayStep::Answered,
        RelayStep::Settled,
    ];
    for (number, step) in (1..).zip(steps) {
        let id = format!("7a0c6c3e-66a5-4d0c-9a33-1f1f6c0d1f{number:02}");
        // One that is sealed, one that is refused, one without an id.
        let script = format!(
            "begin; {}; {}; insert into ledger.universal_registry (entity_type, who, \"this\") values ('activity', 'a', 'b'); commit",
            insert(&id, 1, "door"),
            insert(&id, 0, "door")
        );
        said(&url, &script);
        killed_at(&world, step).await;
        let relay = Running::start(&world).await;
        relay.empty(&url).await;
        relay.stop().await;
        let counts = "select (select count(*) from ledger.universal_registry), (select max(position) from ledger.universal_registry),
            (select count(*) from ledger.my_refusals)";
        assert_eq!(
            said(&url, counts),
            format!("{0}|{0}|{number}", 2 * number),
            "{step:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_the_bus_or_the_relay_is_away_goes_out_when_it_is_back() {
    let world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    said(&url, &insert(ID, 0, "before the relay"));
    let relay = Running::start(&world).await;
    relay.empty(&url).await;
    world.nats.stop().await.unwrap();
    for seq in 1..20 {
        said(&url, &insert(ID, seq, "while the bus is away"));
    }
    assert_ne!(said(&url, "select count(*) from ledger.my_outbox"), "0");
    world.nats.restart().await.unwrap();
    relay.empty(&url).await;
    let kept = "select count(*), max(seq), max(position) from ledger.universal_registry";
    assert_eq!(
        said(&url, kept),
        "20|19|20",
        "{}",
        said(&url, "select * from ledger.my_refusals")
    );
    relay.stop().await;
}

/// Columns, values, the state and the code of the error.
const FAULTS: [(&str, &str, &str, &str); 22] = [
    (
        "entity_type, who, \"this\", tenant_id",
        "'a', 'a', 'b', 'other'",
        "42501",
        "tenant_mismatch /tenant_id",
    ),
    (
        "entity_type, who, \"this\", owner_id",
        "'a', 'a', 'b', 'bob'",
        "42501",
        "owner_mismatch /owner_id",
    ),
    (
        "who, \"this\"",
        "'a', 'b'",
        "23514",
        "missing_field /entity_type",
    ),
    (
        "entity_type, \"this\"",
        "'a', 'b'",
        "23514",
        "missing_field /who",
    ),
    (
        "entity_type, who",
        "'a', 'b'",
        "23514",
        "missing_field /this",
    ),
    (
        "entity_type, who, \"this\"",
        "'A b', 'a', 'b'",
        "23514",
        "invalid_value /entity_type",
    ),
    (
        "entity_type, who, \"this\", visibility",
        "'a', 'a', 'b', 'all'",
        "23514",
        "invalid_value /visibility",
    ),
    (
        "entity_type, who, \"this\", status",
        "'a', 'a', 'b', 'a b'",
        "23514",
        "invalid_value /status",
    ),
    (
        "entity_type, who, \"this\", seq",
        "'a', 'a', 'b', -1",
        "23514",
        "out_of_range /seq",
    ),
    (
        "entity_type, who, \"this\", duration_ms",
        "'a', 'a', 'b', -1",
        "23514",
        "out_of_range /duration_ms",
    ),
    (
        "entity_type, who, \"this\", at",
        "'a', 'a', 'b', 'infinity'",
        "23514",
        "invalid_timestamp /at",
    ),
    (
        "entity_type, who, \"this\", at",
        "'a', 'a', 'b', '0044-03-15 BC'",
        "23514",
        "invalid_timestamp /at",
    ),
    (
        "entity_type, who, \"this\", at",
        "'a', 'a', 'b', now() + interval '1 hour'",
        "23514",
        "at_in_future /at",
    ),
    (
        "entity_type, who, \"this\"",
        "'a', repeat('x', 257), 'b'",
        "23514",
        "too_long",
    ),
    (
        "entity_type, who, \"this\", related_to",
        "'a', 'a', 'b', array[null]::uuid[]",
        "23514",
        "wrong_type /related_to",
    ),
    (
        "entity_type, who, \"this\", idempotency_key",
        "'a', 'a', 'b', 'edge:x'",
        "23514",
        "reserved_key /idempotency_key",
    ),
    (
        "entity_type, who, \"this\"",
        "'a', 'edge:observer', 'b'",
        "23514",
        "reserved_name /who",
    ),
    (
        "entity_type, who, \"this\", position",
        "'a', 'a', 'b', 1",
        "23514",
        "ledger_field",
    ),
    (
        "entity_type, who, \"this\", public_key",
        "'a', 'a', 'b', 'x'",
        "23514",
        "key_without_signature /signature",
    ),
    (
        "entity_type, who, \"this\", signature",
        "'a', 'a', 'b', 'x'",
        "23514",
        "signature_without_key /public_key",
    ),
    (
        "entity_type, who, \"this\", signature, public_key",
        "'a', 'a', 'b', 'x', 'y'",
        "23514",
        "signature_incomplete",
    ),
    (
        "entity_type, who, \"this\"",
        "'a', 'a', repeat('x', 1048576)",
        "23514",
        "",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_plainly_wrong_is_refused_at_the_insert() {
    let world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    for (columns, values, state, code) in FAULTS {
        let statement =
            format!("insert into ledger.universal_registry ({columns}) values ({values})");
        let (_, error) = psql(&url, &statement);
        assert!(
            error.contains(&format!("ERROR:  {state}:")),
            "{statement}: {error}"
        );
        assert!(
            code.is_empty() || error.contains(&format!("DETAIL:  code {code}\n")),
            "{statement}: {error}"
        );
        assert!(
            code.is_empty() || error.contains("HINT:  "),
            "{statement}: {error}"
        );
    }
    let anonymous = "reset all; set app.user_id = ''; set app.tenant_id = ''; insert into ledger.universal_registry (entity_type, who, \"this\") values ('a', 'a', 'b')";
    let (_, error) = psql(&url, anonymous);
    assert!(
        error.contains("42501") && error.contains("HINT:  SET app.tenant_id"),
        "{error}"
    );
    let another = "set app.user_id = 'bob'; insert into ledger.universal_registry (entity_type, who, \"this\") values ('a', 'a', 'b')";
    let (_, error) = psql(&url, another);
    assert!(
        error.contains("42501") && error.contains("has not proved to be"),
        "{error}"
    );
    assert_eq!(said(&url, "select count(*) from ledger.my_outbox"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_may_have_only_so_much_waiting() {
    let world = World::new().await;
    let url = world.sql_login("acme", "alice").await;
    let other = world.sql_login("acme", "bob").await;
    let many = |count: u32, bytes: u32| {
        format!(
            "insert into ledger.universal_registry (entity_type, who, \"this\", description)
             select 'activity', 'alice', n::text, repeat('x', {bytes}) from generate_series(1, {count}) n"
        )
    };
    for (count, bytes) in [(1001, 1), (68, 1_000_000)] {
        let (_, error) = psql(&url, &many(count, bytes));
        assert!(
            error.contains("53400") && error.contains("HINT:  "),
            "{error}"
        );
    }
    said(&url, &many(1000, 1));
    let (_, error) = psql(&url, &many(1, 1));
    assert!(error.contains("53400"), "{error}");
    said(&other, &many(1, 1));
    let relay = Running::start(&world).await;
    relay.empty(&url).await;
    relay.empty(&other).await;
    let order = "select count(*), count(*) filter (where \"this\"::bigint = place) from (
        select \"this\", row_number() over (order by position) as place from ledger.universal_registry where owner_id = 'alice') s";
    assert_eq!(said(&url, order), "1000|1000");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_listens_again_when_postgres_is_back() {
    let world = World::with_own_postgres(crate::world::config()).await;
    let url = world.sql_login("acme", "alice").await;
    let relay = Running::start(&world).await;
    said(&url, &insert(ID, 0, "before"));
    relay.empty(&url).await;
    world.postgres().kill().await;
    world.postgres().restart().await.unwrap();
    said(&url, &insert(ID, 1, "after"));
    relay.empty(&url).await;
    assert_eq!(
        said(
            &url,
            "select count(*), max(position) from ledger.universal_registry"
        ),
        "2|2"
    );
    relay.stop().await;
}
