//! LED-15: the ledger from the timeline, the timeline from the ledger.

use logline_projector::{Health, RepublishError, RestoreError, republish, restore};
use logline_span::{Position, Sealed};

use crate::world::World;

const TENANTS: [&str; 3] = ["acme", "beta", "gamma"];

/// Spans of three tenants, with and without ids, a newer version among them; then the projector stops.
async fn lived() -> World {
    let world = World::new().await;
    let running = world.projector().await;
    for n in 0..30 {
        let tenant = TENANTS[n % TENANTS.len()];
        let body = format!(r#"{{"who":"alice","this":"door {n}","visibility":"tenant"}}"#);
        world
            .seal(&format!("ingest.{tenant}.alice.activity"), &body)
            .await;
    }
    for seq in 0..2 {
        let body = format!(
            r#"{{"id":"0190d6c2-2f7a-7bbb-8a4e-4a9a7d1b2c3d","seq":{seq},"who":"alice","this":"gate","idempotency_key":"k{seq}"}}"#
        );
        world.seal("ingest.acme.alice.activity", &body).await;
    }
    world.publish("ingest.acme.alice.activity", "no span").await;
    world
        .seal("ingest.acme.alice.activity", r#"{"who":"a","this":"last"}"#)
        .await;
    running.stop().await;
    world
}

fn texts(rows: &[Sealed]) -> Vec<String> {
    rows.iter().map(Sealed::to_json).collect()
}

/// What `INGEST` still holds is handled again, and seals nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_the_same_again() {
    for kept in ["0", "5", "1000"] {
        let world = lived().await;
        let before = world.check().await;
        if kept != "1000" {
            world.nats_cli(&["stream", "purge", "INGEST", "--keep", kept, "--force"]);
        }
        let world = world.fresh_ledger().await;
        let restored = restore(&world.bus, &world.writer(), 0, |_| ()).await;
        assert_eq!(restored.unwrap(), before.len() as u64);
        assert_eq!(
            restore(&world.bus, &world.writer(), 0, |_| ())
                .await
                .unwrap(),
            0
        );
        assert_eq!(texts(&world.rows().await), texts(&before));

        let _running = world.projector().await;
        // A repeat is known for one, by id and by key.
        let again = r#"{"id":"0190d6c2-2f7a-7bbb-8a4e-4a9a7d1b2c3d","seq":1,"who":"alice","this":"gate","idempotency_key":"k1"}"#;
        world.seal("ingest.acme.alice.activity", again).await;
        world
            .seal("ingest.beta.alice.activity", r#"{"who":"a","this":"new"}"#)
            .await;
        let after = world.check().await;
        assert_eq!(after.len(), before.len() + 1, "{kept}");
        assert_eq!(texts(&after[..before.len()]), texts(&before), "{kept}");
    }
}

/// A backup that is older than the bus: the projector does not seal on, which would fork every chain.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_ledger_is_not_sealed_on_but_restored() {
    let world = lived().await;
    let before = world.check().await;
    world.sql(
        "alter table ledger.span disable trigger ur_no_update;
         delete from ledger.span s using ledger.intake i
             where i.timeline_seq > 20 and s.tenant_id = i.tenant_id and s.position = i.position;
         delete from ledger.edge e where not exists (select from ledger.span s where s.tenant_id = e.tenant_id and s.position = e.position);
         update ledger.shard set timeline_seq = 20, ingest_seq = i.ingest_seq, ingest_digest = i.digest,
                ingest_time_ns = i.bus_time_ns, sealed_through = (select max(received_at) from ledger.span)
             from ledger.intake i where i.timeline_seq = 20;
         delete from ledger.intake where ingest_seq > (select ingest_seq from ledger.shard);
         alter table ledger.span enable always trigger ur_no_update",
    );
    let mut running = world.projector().await;
    running
        .becomes(|health| match health {
            Health::Degraded { reason } => reason.contains("logline restore"),
            Health::Standby | Health::Active => false,
        })
        .await;
    let restored = restore(&world.bus, &world.writer(), 0, |_| ()).await;
    assert_eq!(restored.unwrap(), before.len() as u64 - 20);
    running.becomes(|health| *health == Health::Active).await;
    world
        .seal("ingest.beta.alice.activity", r#"{"who":"a","this":"new"}"#)
        .await;
    let after = world.check().await;
    assert_eq!(texts(&after[..before.len()]), texts(&before));
    assert_eq!(after.len(), before.len() + 1);
}

/// Whatever is put in place of a message, or behind the last one, is named and not taken in.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_does_not_hold_is_not_believed() {
    let world = lived().await;
    let mut rows = world.check().await;
    let last = rows.pop().unwrap();
    let number = rows.len() as u64 + 1;
    let mut changed = last.clone();
    changed.span.this = "another".to_owned();
    let mut unlinked = last.clone();
    unlinked.prev_hash = unlinked.curr_hash;
    let mut later = last.clone();
    later.position = Position::new(last.position.get() + 1).unwrap();
    for forged in [
        changed.to_json(),
        unlinked.to_json(),
        later.to_json(),
        "{}".to_owned(),
    ] {
        let world = World::new().await;
        let entries: Vec<_> = rows
            .iter()
            .map(Sealed::to_json)
            .chain([forged.clone()])
            .collect();
        for (entry, n) in entries.iter().zip(0..) {
            let expected = format!("Nats-Expected-Last-Sequence:{n}");
            let arguments = [
                "pub",
                "timeline.acme.private.alice._.activity",
                entry,
                "-H",
                &expected,
            ];
            world.nats_cli(&arguments);
        }
        let refused = restore(&world.bus, &world.writer(), 0, |_| ())
            .await
            .unwrap_err();
        let named = match refused {
            RestoreError::Broken { number, .. } | RestoreError::Unreadable { number, .. } => number,
            other => panic!("{other}"),
        };
        assert_eq!(named, number, "{forged}");
        // The spans before it came in the same step, and are not there either.
        assert_eq!(world.rows().await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_timeline_is_the_same_again() {
    let world = lived().await;
    let before = world.check().await;
    let bytes = |world: &World| world.nats_cli(&["stream", "get", "TIMELINE", "17", "--json"]);
    let kept = body(&bytes(&world));
    for spoil in [
        vec!["stream", "purge", "TIMELINE", "--force"],
        vec!["stream", "purge", "TIMELINE", "--keep", "7", "--force"],
        vec!["pub", "timeline.acme.public.alice._.activity", "{}"],
        vec!["stream", "rm", "TIMELINE", "--force"],
    ] {
        world.nats_cli(&spoil);
        world.bus.migrate().await.unwrap();
        let done = republish(&world.bus, &world.writer(), 0, |_| ())
            .await
            .unwrap();
        assert_eq!(done.spans, before.len() as u64, "{spoil:?}");
        assert_eq!(texts(&world.check().await), texts(&before), "{spoil:?}");
        assert_eq!(body(&bytes(&world)), kept, "{spoil:?}");
        let again = republish(&world.bus, &world.writer(), 0, |_| ())
            .await
            .unwrap();
        assert_eq!((again.published, again.parted_at), (0, None));
    }
}

/// Republishing would throw away the only copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_ahead_of_its_ledger_is_not_thrown_away() {
    let world = lived().await;
    let rows = world.check().await.len();
    let world = world.fresh_ledger().await;
    let refused = republish(&world.bus, &world.writer(), 0, |_| ()).await;
    assert!(
        matches!(refused, Err(RepublishError::LedgerBehind { committed: 0 })),
        "{refused:?}"
    );
    assert_eq!(world.bus.timeline_last().await.unwrap(), rows as u64);
}

/// The bytes of a message, whatever the server notes beside them.
fn body(stored: &str) -> String {
    let stored: serde_json::Value = serde_json::from_str(stored).unwrap();
    stored["data"].as_str().unwrap().to_owned()
}
