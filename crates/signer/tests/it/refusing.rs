//! What does not extend what was signed is not signed, and told (LED-8, LED-16).

use logline_bus::access::Login;

use crate::world::{World, tenant};

/// Two tenants with a signed head each, and a signer that is gone.
async fn signed() -> (World, crate::world::Running) {
    let world = World::new().await;
    let projector = world.projector();
    let signer = world.signer().await;
    for name in ["acme", "beta"] {
        world.seal_many(name, 5).await;
        world.signed(name, 5).await;
    }
    signer.stop().await;
    (world, projector)
}

/// The other tenant goes on, and this one's newest head stays where it was.
async fn others_go_on(world: &World) {
    world.seal("beta", "").await;
    world.signed("beta", 6).await;
    world.seal("acme", "").await;
    let last = world.seal("beta", "").await;
    world.signed("beta", 7).await;
    let (_, newest) = world.published("acme", 1).await;
    assert_eq!(newest.checkpoint().head.size, 5, "{last:?}");
    assert_eq!(world.check("beta").await, heads(world));
}

fn heads(world: &World) -> usize {
    let count = world.sql("select count(*) from ledger.checkpoint where tenant_id = 'beta'");
    count.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_below_the_head_stops_its_tenant_alone() {
    let (world, _projector) = signed().await;
    world.tamper(
        "span",
        "ur_no_update",
        "update ledger.span set curr_hash = sha256('other') where tenant_id = 'acme' and position = 2",
    );
    let _signer = world.signer().await;
    world.seal("acme", "").await;
    assert_eq!(world.incident("acme").await, "root_differs");
    others_go_on(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_cut_off_is_refused() {
    let (world, projector) = signed().await;
    // A restored backup knows neither the rows nor the heads after it.
    projector.stop().await;
    world.tamper(
        "span",
        "ur_no_update",
        "delete from ledger.span where tenant_id = 'acme' and position > 3",
    );
    world.tamper(
        "checkpoint",
        "checkpoint_no_update",
        "delete from ledger.checkpoint where tenant_id = 'acme' and size > 3",
    );
    let _signer = world.signer().await;
    let _projector = world.projector();
    assert_eq!(world.incident("acme").await, "ledger_shorter");
    others_go_on(&world).await;
    // It stays refused when the chain has grown past the head again.
    world.seal_many("acme", 5).await;
    let again = world.signer().await;
    others_stay(&world).await;
    again.stop().await;
}

async fn others_stay(world: &World) {
    world.seal("beta", "").await;
    world.signed("beta", 8).await;
    let newest = world.signers_ledger().newest(&tenant("acme")).await;
    let size = newest.unwrap().map(|note| {
        let signed: logline_proof::SignedCheckpoint = note.parse().unwrap();
        signed.checkpoint().head.size
    });
    assert!(size.is_none_or(|size| size <= 3), "{size:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_nobody_of_this_log_has_signed_is_refused() {
    let (world, _projector) = signed().await;
    let forged = world.published("beta", 5).await.1.to_string();
    let name = tenant("acme");
    let seq = world.bus.checkpoint(&name).await.unwrap().unwrap().seq;
    // No other part may even publish it: someone with the operator's rights does.
    let part = world.as_part(Login::Projector).await;
    let outcome = part.publish_checkpoint(&name, &forged, seq).await;
    assert!(outcome.is_err(), "{outcome:?}");
    world
        .bus
        .publish_checkpoint(&name, &forged, seq)
        .await
        .unwrap();
    world.seal("acme", "").await;
    let _signer = world.signer().await;
    assert_eq!(world.incident("acme").await, "head_untrusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_node_that_was_changed_is_noticed() {
    let world = World::new().await;
    let _projector = world.projector();
    let signer = world.signer().await;
    world.seal_many("acme", 300).await;
    world.signed("acme", 300).await;
    signer.stop().await;
    world.tamper(
        "node",
        "node_no_update",
        "update ledger.node set hash = sha256('other') where tenant_id = 'acme'",
    );
    world.seal("acme", "").await;
    let _signer = world.signer().await;
    assert_eq!(world.incident("acme").await, "node_differs");
}

/// LED-1
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_signed_can_be_changed_or_taken_back() {
    let (world, _projector) = signed().await;
    for table in [
        "node",
        "checkpoint",
        "log_key",
        "cosignature",
        "verification",
    ] {
        for statement in [
            format!("update ledger.{table} set tenant_id = 'x'"),
            format!("delete from ledger.{table}"),
            format!("truncate ledger.{table}"),
        ] {
            let outcome = world.sql(&format!(
                "do $$ begin {statement}; raise exception 'done'; exception when restrict_violation then null; end $$; select 'refused'"
            ));
            assert_eq!(outcome, "refused", "{statement}");
        }
    }
}

/// The signer reads no content (LED-2).
#[tokio::test(flavor = "multi_thread")]
async fn the_signers_login_reads_hashes_alone() {
    let world = World::new().await;
    for column in ["who", "content", "prev_hash", "content_hash"] {
        let may = format!(
            "select has_column_privilege('logline_signer', 'ledger.span', '{column}', 'select')"
        );
        assert_eq!(world.sql(&may), "f", "{column}");
    }
    let writes = "select has_table_privilege('logline_signer', 'ledger.span', 'insert, update, delete, truncate')";
    assert_eq!(world.sql(writes), "f");
    // The verifier keeps what it found, and can write nothing else.
    let writes = "select string_agg(c.relname, ' ') from pg_class c where c.relnamespace = 'ledger'::regnamespace and c.relkind = 'r'
         and has_table_privilege('logline_verifier', c.oid, 'insert, update, delete, truncate')";
    assert_eq!(world.sql(writes), "verification");
}
