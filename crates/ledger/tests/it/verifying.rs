use std::time::Duration;

use logline_ledger::{Failure, Part, Progress, Report, Scope, VerifyError};
use logline_proof::{
    Algorithm, Checkpoint, Frontier, KeyName, NodeHash, Origin, SignedCheckpoint, VerifierKey,
};
use logline_span::{SigningKey, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sqlx::PgConnection;

use crate::support::{LOG, Ledger, json, span, tenant, with};

pub(crate) fn full(tenant: &str, signed: bool) -> Span {
    with(span(tenant, "alice"), |span| {
        let text = |text: &str| Some(text.to_owned());
        span.did = text("opened");
        (span.parent_id, span.caused_by, span.related_to) =
            (Some(span.id), Some(span.id), vec![span.id, span.id]);
        span.status = Some("active".parse().unwrap());
        (span.name, span.description, span.code) = (text("n"), text("d"), text("c"));
        (span.language, span.runtime, span.idempotency_key) =
            (text("l"), text("r"), text(&span.id.to_string()));
        (span.input, span.output, span.error) = (json("1"), json("[1,2]"), json(r#"{"a":"b"}"#));
        (span.content, span.metadata) = (json("true"), json(r#"{"a":1e+21}"#));
        span.duration_ms = Some(7);
        if signed {
            let key = SigningKey::from_seed(&[5; 32]);
            span.signature = Some(key.sign_content(&span.content_hash()));
            span.public_key = Some(key.public_key());
        }
    })
}

async fn verify(ledger: &Ledger) -> Report {
    ledger
        .verifier()
        .verify(&Scope::default(), |_| ())
        .await
        .unwrap()
}

/// What a superuser can do who switches the trigger off.
async fn tamper(admin: &mut PgConnection, change: &str) -> u64 {
    let sql = format!(
        "alter table ledger.span disable trigger ur_no_update;
         {change};
         alter table ledger.span enable always trigger ur_no_update"
    );
    sqlx::raw_sql(&sql)
        .execute(admin)
        .await
        .unwrap()
        .rows_affected()
}

fn found(report: &Report) -> Vec<(&str, i64, Part)> {
    report
        .failures
        .iter()
        .map(|failure| (failure.tenant.as_str(), failure.position, failure.part))
        .collect()
}

/// Every column, a change to it that keeps the column's type, and the part that must be named.
const CHANGES: [(&str, &str, Part); 45] = [
    ("position", "100", Part::Gap),
    ("tenant_id", "'elsewhere'", Part::Gap),
    (
        "received_at",
        "received_at + interval '1 microsecond'",
        Part::Content,
    ),
    ("received_at", "'infinity'", Part::Content),
    ("at", "at - interval '1 microsecond'", Part::Content),
    ("at", "'-infinity'", Part::Content),
    ("seq", "seq + 1", Part::Content),
    ("duration_ms", "duration_ms # 1", Part::Content),
    ("duration_ms", "-1", Part::Content),
    ("id", "gen_random_uuid()", Part::Content),
    ("parent_id", "null", Part::Content),
    ("caused_by", "gen_random_uuid()", Part::Content),
    ("is_deleted", "not is_deleted", Part::Content),
    ("owner_id", "'mallory'", Part::Content),
    ("owner_id", "'NOT A PRINCIPAL' || chr(10)", Part::Content),
    ("visibility", "'public'", Part::Content),
    ("visibility", "'secret'", Part::Content),
    ("entity_type", "'other'", Part::Content),
    ("status", "'ACTIVE'", Part::Content),
    ("status", "null", Part::Content),
    ("trace_id", "md5(trace_id)", Part::Content),
    ("trace_id", "upper(trace_id) || ''", Part::Content),
    ("published_by", "'mallory'", Part::Content),
    ("idempotency_key", "idempotency_key || ' '", Part::Content),
    (
        "content_hash",
        "set_byte(content_hash, 31, get_byte(content_hash, 31) # 1)",
        Part::Content,
    ),
    (
        "prev_hash",
        "set_byte(prev_hash, 0, get_byte(prev_hash, 0) # 128)",
        Part::Link,
    ),
    ("prev_hash", "'x'", Part::Link),
    (
        "curr_hash",
        "set_byte(curr_hash, 0, get_byte(curr_hash, 0) # 1)",
        Part::Link,
    ),
    ("curr_hash", "'x'", Part::Link),
    (
        "signature",
        "set_byte(signature, 63, get_byte(signature, 63) # 1)",
        Part::Signature,
    ),
    ("signature", "null", Part::Signature),
    (
        "public_key",
        "set_byte(public_key, 3, get_byte(public_key, 3) # 1)",
        Part::Signature,
    ),
    ("public_key", "public_key || 'x'", Part::Signature),
    ("who", "who || chr(8203)", Part::Content),
    ("did", "''", Part::Content),
    ("this", "upper(this)", Part::Content),
    ("name", "null", Part::Content),
    ("related_to", "related_to[1:1]", Part::Content),
    (
        "related_to",
        "('[0:1]=' || related_to::text)::uuid[]",
        Part::Content,
    ),
    ("related_to", "'{}'", Part::Content),
    ("input", "'1.0'", Part::Content),
    ("output", "'[1, 2]'", Part::Content),
    ("error", "'null'", Part::Content),
    ("content", "'{\"a\":1,\"a\":1}'", Part::Content),
    (
        "metadata",
        "'{\"a\":1000000000000000000000}'",
        Part::Content,
    ),
];

/// LED-9: whatever single column of whatever row is changed, that row and part is found, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn any_changed_column_is_found_in_its_row_and_nothing_else() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    let spans = (0..40)
        .map(|nth| full(["acme", "other"][nth % 2], true))
        .collect();
    sealer.seal(spans).await;
    let mut admin = ledger.admin().await;
    let whole = verify(&ledger).await;
    assert!(
        whole.ok && whole.failures.is_empty() && whole.checked == 40 && whole.tenants == 2,
        "{whole:?}"
    );

    let mut runner = TestRunner::deterministic();
    for (column, change, part) in CHANGES {
        let row = (1..20_i64).new_tree(&mut runner).unwrap().current();
        let place = format!("tenant_id = 'acme' and position = {row}");
        sqlx::raw_sql(
            &(format!("create table public.kept as select * from ledger.span where {place}")),
        )
        .execute(&mut admin)
        .await
        .unwrap();
        if let Err(error) = try_tamper(
            &mut admin,
            &format!("update ledger.span set {column} = {change} where {place}"),
        )
        .await
        {
            // Postgres itself refuses what a bound or a key of the table forbids.
            assert!(error.contains("span_bounds"), "{column}: {error}");
        } else {
            let report = verify(&ledger).await;
            let first = found(&report).into_iter().next();
            assert_eq!(
                first,
                Some(("acme", row, part)),
                "{column} = {change}: {:?}",
                report.failures
            );
            let moved = ["position", "tenant_id"].contains(&column);
            assert!(
                moved || report.failures.len() == 1,
                "{column} = {change}: {:?}",
                report.failures
            );
        }
        tamper(
            &mut admin,
            "delete from ledger.span s using public.kept k where s.curr_hash in (k.curr_hash) or s.content_hash = k.content_hash;
             insert into ledger.span select * from public.kept; drop table public.kept",
        )
        .await;
    }
    let mended = verify(&ledger).await;
    assert!(mended.ok, "{:?}", mended.failures);
}

async fn try_tamper(admin: &mut PgConnection, change: &str) -> Result<(), String> {
    let sql = format!(
        "begin; alter table ledger.span disable trigger ur_no_update;
         {change};
         alter table ledger.span enable always trigger ur_no_update; commit"
    );
    let outcome = sqlx::raw_sql(&sql).execute(&mut *admin).await;
    if let Err(error) = outcome {
        sqlx::raw_sql("rollback").execute(admin).await.unwrap();
        return Err(error.to_string());
    }
    Ok(())
}

/// Random bytes changed at random places of rows with and without a signature.
#[tokio::test(flavor = "multi_thread")]
async fn any_flipped_bit_of_text_or_bytes_is_found() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    sealer
        .seal((0..24).map(|nth| full("acme", nth % 2 == 0)).collect())
        .await;
    let mut admin = ledger.admin().await;
    let mut runner = TestRunner::deterministic();
    let texts = [
        "who",
        "did",
        "this",
        "name",
        "description",
        "code",
        "language",
        "runtime",
        "idempotency_key",
    ];
    for _ in 0..30 {
        let (row, column, letter) = (
            1..=24_i64,
            proptest::sample::select(texts.to_vec()),
            "[A-Z]",
        )
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let place = format!("tenant_id = 'acme' and position = {row}");
        let before: String =
            sqlx::query_scalar(&(format!("select {column} from ledger.span where {place}")))
                .fetch_one(&mut admin)
                .await
                .unwrap();
        tamper(&mut admin, &format!("update ledger.span set {column} = overlay({column} placing '{letter}' from 1) where {place}")).await;
        let report = verify(&ledger).await;
        assert_eq!(found(&report), [("acme", row, Part::Content)], "{column}");
        tamper(
            &mut admin,
            &format!("update ledger.span set {column} = '{before}' where {place}"),
        )
        .await;
    }
    assert!(verify(&ledger).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_swapped_rows_are_found() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    sealer
        .seal((0..30).map(|_| full("acme", false)).collect())
        .await;
    let mut admin = ledger.admin().await;
    tamper(
        &mut admin,
        "delete from ledger.span where position in (1, 7, 8, 9)",
    )
    .await;
    let report = verify(&ledger).await;
    assert_eq!(
        found(&report),
        [("acme", 1, Part::Gap), ("acme", 7, Part::Gap)]
    );
    assert_eq!(report.failures[1].detail, "missing up to position 9");
    tamper(
        &mut admin,
        "update ledger.span set position = 1000 where position = 20; update ledger.span set position = 20 where position = 25;
         update ledger.span set position = 25 where position = 1000",
    )
    .await;
    let report = verify(&ledger).await;
    assert_eq!(found(&report)[2], ("acme", 20, Part::Link));
}

/// LED-9: progress names a place before which nothing is left, and from which a later run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_goes_on_where_an_earlier_one_was_stopped() {
    const ROWS: usize = 12_000;
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    for _ in 0..ROWS / 1000 {
        sealer
            .seal((0..1000).map(|_| span("acme", "alice")).collect())
            .await;
    }
    sealer.seal(vec![span("beta", "alice")]).await;
    let told = std::sync::Mutex::new(Vec::new());
    let note = |progress: Progress<'_>| {
        let next = progress
            .next
            .map(|(tenant, position)| (tenant.to_owned(), position));
        told.lock().unwrap().push((progress.checked, next));
    };
    let verifier = ledger.verifier();
    let whole = verifier.verify(&Scope::default(), note).await.unwrap();
    assert!(whole.ok && whole.checked == ROWS as u64 + 1, "{whole:?}");
    let told = told.into_inner().unwrap();
    assert_eq!(told.last().unwrap(), &(whole.checked, None));
    let mut last = (String::new(), 0);
    for (checked, next) in told {
        let Some((tenant, position)) = next else {
            continue;
        };
        let before = if tenant == "acme" {
            position - 1
        } else {
            12_000
        };
        assert!(
            checked >= u64::try_from(before).unwrap(),
            "{tenant}/{position} at {checked}"
        );
        assert!((tenant.clone(), position) >= last, "it never goes back");
        let scope = Scope {
            tenants: vec![tenant.parse().unwrap()],
            from: Some(position.to_string().parse().unwrap()),
            ..Scope::default()
        };
        let rest = verifier.verify(&scope, |_| ()).await.unwrap();
        let left = if tenant == "acme" { 12_000 - before } else { 1 };
        assert_eq!(
            rest.checked,
            u64::try_from(left).unwrap(),
            "{tenant}/{position}"
        );
        last = (tenant, position);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_is_resumed_and_reported_as_specified() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    sealer
        .seal(
            (0..12)
                .map(|nth| full(["acme", "other"][nth % 2], false))
                .collect(),
        )
        .await;
    let mut admin = ledger.admin().await;
    tamper(
        &mut admin,
        "update ledger.span set who = 'x' where position = 3 and tenant_id = 'acme'",
    )
    .await;
    let scope = Scope {
        tenants: vec![tenant("acme"), tenant("nobody")],
        from: Some("4".parse().unwrap()),
        ..Scope::default()
    };
    let later = ledger.verifier().verify(&scope, |_| ()).await.unwrap();
    assert!(
        later.ok && later.checked == 3 && later.tenants == 1,
        "{later:?}"
    );
    assert_eq!(later.through[&tenant("acme")].get(), 6);

    let report = verify(&ledger).await;
    let Failure { id, seq, .. } = report.failures[0].clone();
    let expected = serde_json::json!({
        "ok": false, "anchored": false, "tenants": 2, "checked": 12,
        "failures": [{
            "tenant": "acme", "position": 3, "id": id, "seq": seq, "part": "content",
            "detail": "the values do not give the content hash"
        }]
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    assert!(id.is_some());
}

/// The log's key of these tests.
pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed(&[8; 32])
}

/// Signs a tenant's rows as the signer does, at each of these sizes; gives the last head.
pub(crate) async fn sign(
    admin: &mut PgConnection,
    tenant: &str,
    sizes: &[u64],
) -> SignedCheckpoint {
    let name: KeyName = format!("{LOG}/{tenant}").parse().unwrap();
    let key = VerifierKey::new(name.clone(), Algorithm::Ed25519, log_key().public_key());
    sqlx::query(
        "insert into ledger.log_key (tenant_id, key) values ($1, $2) on conflict do nothing",
    )
    .bind(tenant)
    .bind(key.to_string())
    .execute(&mut *admin)
    .await
    .unwrap();
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
        "select curr_hash from ledger.span where tenant_id = $1 order by position",
    )
    .bind(tenant)
    .fetch_all(&mut *admin)
    .await
    .unwrap();
    let (mut tree, mut last) = (Frontier::new(), None);
    for hash in hashes {
        for node in tree.append(NodeHash::leaf(&hash)) {
            sqlx::query(
                "insert into ledger.node (tenant_id, level, index, hash) values ($1, $2, $3, $4)",
            )
            .bind(tenant)
            .bind(i16::from(node.level))
            .bind(i64::try_from(node.index).unwrap())
            .bind(node.hash.as_bytes().as_slice())
            .execute(&mut *admin)
            .await
            .unwrap();
        }
        let head = tree.head();
        if sizes.contains(&head.size) {
            let signed = Checkpoint::new(Origin::from(name.clone()), head)
                .sign(&log_key())
                .unwrap();
            sqlx::query("insert into ledger.checkpoint (tenant_id, size, root, note) values ($1, $2, $3, $4)")
                .bind(tenant)
                .bind(i64::try_from(head.size).unwrap())
                .bind(head.root.as_bytes().as_slice())
                .bind(signed.to_string())
                .execute(&mut *admin)
                .await
                .unwrap();
            last = Some(signed);
        }
    }
    last.unwrap()
}

/// What verification finds after a change to what the signer left; the change is taken back.
async fn found_after(ledger: &Ledger, admin: &mut PgConnection, change: &str) -> Vec<(i64, Part)> {
    let switched = |on: &str| {
        ["span", "checkpoint", "node"]
            .map(|table| {
                let trigger = if table == "span" { "ur" } else { table };
                format!("alter table ledger.{table} {on} trigger {trigger}_no_update;")
            })
            .concat()
    };
    let tables = ["span", "checkpoint", "node"];
    let kept = tables
        .map(|table| format!("create table public.kept_{table} as select * from ledger.{table};"));
    sqlx::raw_sql(&format!("{}{}{change}", switched("disable"), kept.concat()))
        .execute(&mut *admin)
        .await
        .unwrap();
    let report = verify(ledger).await;
    let back = tables.map(|table| {
        format!("delete from ledger.{table}; insert into ledger.{table} select * from public.kept_{table}; drop table public.kept_{table};")
    });
    sqlx::raw_sql(&format!("{}{}", back.concat(), switched("enable always")))
        .execute(&mut *admin)
        .await
        .unwrap();
    let failures = report.failures.iter();
    failures
        .map(|failure| (failure.position, failure.part))
        .collect()
}

/// LED-9: what no chain can tell, because it is consistent in itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_a_signed_head_is_found_led_8() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    sealer
        .seal((0..300).map(|_| full("acme", false)).collect())
        .await;
    let mut admin = ledger.admin().await;
    sign(&mut admin, "acme", &[1, 100, 256, 300]).await;
    let whole = verify(&ledger).await;
    assert!(whole.ok && !whole.anchored, "{:?}", whole.failures);

    let tail = "delete from ledger.span where position > 298";
    let root = "update ledger.checkpoint set root = sha256('x') where size = 100";
    let note = "update ledger.checkpoint set note = replace(note, E'\\n100\\n', E'\\n101\\n') where size = 100";
    let moved = "update ledger.checkpoint set size = 200 where size = 100";
    let origin =
        "update ledger.checkpoint set note = replace(note, 'acme', 'other') where size = 1";
    let node = "update ledger.node set hash = sha256('x')";
    let lost = "delete from ledger.node";
    let beyond = "insert into ledger.node (tenant_id, level, index, hash) values ('acme', 1, 1, sha256('x'))";
    let all = "delete from ledger.span";
    for (change, expected) in [
        (tail, vec![(300, Part::Checkpoint)]),
        (root, vec![(100, Part::Checkpoint)]),
        (note, vec![(100, Part::Checkpoint)]),
        (moved, vec![(200, Part::Checkpoint)]),
        (origin, vec![(1, Part::Checkpoint)]),
        (node, vec![(256, Part::Checkpoint)]),
        (lost, vec![(256, Part::Checkpoint)]),
        (beyond, vec![(512, Part::Checkpoint)]),
        (
            all,
            [1, 100, 256, 256, 300]
                .map(|size| (size, Part::Checkpoint))
                .to_vec(),
        ),
    ] {
        assert_eq!(
            found_after(&ledger, &mut admin, change).await,
            expected,
            "{change}"
        );
    }
    let mended = verify(&ledger).await;
    assert!(mended.ok, "{:?}", mended.failures);
}

/// The rows of the tests are sealed in a time long past.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_end_is_unsigned_is_named() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    for tenant in ["acme", "beta", "gamma"] {
        sealer
            .seal((0..3).map(|_| full(tenant, false)).collect())
            .await;
    }
    let mut admin = ledger.admin().await;
    sign(&mut admin, "acme", &[3]).await;
    sign(&mut admin, "beta", &[2]).await;
    let unsigned = async |grace| ledger.verifier().unsigned(grace).await.unwrap();
    assert_eq!(unsigned(Duration::from_secs(1)).await, ["beta", "gamma"]);
    let ages = Duration::from_secs(1_000_000_000);
    assert_eq!(unsigned(ages).await, [] as [&str; 0]);
}

/// A history rewritten with its heads, nodes and all, by someone who has the log's key as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_from_outside_finds_a_history_that_is_consistent_in_itself() {
    let ledger = Ledger::fresh().await;
    let mut sealer = ledger.sealer().await;
    sealer
        .seal((0..9).map(|_| full("acme", false)).collect())
        .await;
    let mut admin = ledger.admin().await;
    let kept = sign(&mut admin, "acme", &[9]).await;
    let against = |signed: &SignedCheckpoint| Scope {
        against: vec![signed.clone()],
        ..Scope::default()
    };
    let report = ledger
        .verifier()
        .verify(&against(&kept), |_| ())
        .await
        .unwrap();
    assert!(report.ok && report.anchored, "{:?}", report.failures);

    let other = Ledger::fresh().await;
    let mut sealer = other.sealer().await;
    sealer
        .seal((0..20).map(|_| full("acme", false)).collect())
        .await;
    let mut admin = other.admin().await;
    sign(&mut admin, "acme", &[9, 20]).await;
    let report = other
        .verifier()
        .verify(&against(&kept), |_| ())
        .await
        .unwrap();
    assert!(!report.anchored);
    assert_eq!(found(&report), [("acme", 9, Part::Checkpoint)]);

    let foreign: Origin = "elsewhere/acme".parse().unwrap();
    let foreign = Checkpoint::new(foreign, kept.checkpoint().head)
        .sign(&log_key())
        .unwrap();
    let refused = other.verifier().verify(&against(&foreign), |_| ()).await;
    assert!(
        matches!(refused, Err(VerifyError::ForeignCheckpoint(_))),
        "{refused:?}"
    );
}
