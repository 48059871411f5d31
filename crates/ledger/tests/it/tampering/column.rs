//! One column of one row.

use logline_ledger::Part;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use uuid::Uuid;

use super::{Done, HEADS, ROWS, Stage, at_least, changed, hexed, quoted, turned};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Json,
    Bytes,
    Time,
    Number,
    Id,
    Flag,
    Ids,
    Position,
    Tenant,
}

const COLUMNS: [(&str, Kind, Part); 36] = [
    ("position", Kind::Position, Part::Gap),
    ("received_at", Kind::Time, Part::Content),
    ("at", Kind::Time, Part::Content),
    ("seq", Kind::Number, Part::Content),
    ("duration_ms", Kind::Number, Part::Content),
    ("id", Kind::Id, Part::Content),
    ("parent_id", Kind::Id, Part::Content),
    ("caused_by", Kind::Id, Part::Content),
    ("is_deleted", Kind::Flag, Part::Content),
    ("tenant_id", Kind::Tenant, Part::Gap),
    ("owner_id", Kind::Text, Part::Content),
    ("visibility", Kind::Text, Part::Content),
    ("entity_type", Kind::Text, Part::Content),
    ("status", Kind::Text, Part::Content),
    ("trace_id", Kind::Text, Part::Content),
    ("published_by", Kind::Text, Part::Content),
    ("idempotency_key", Kind::Text, Part::Content),
    ("content_hash", Kind::Bytes, Part::Content),
    ("prev_hash", Kind::Bytes, Part::Link),
    ("curr_hash", Kind::Bytes, Part::Link),
    ("signature", Kind::Bytes, Part::Signature),
    ("public_key", Kind::Bytes, Part::Signature),
    ("who", Kind::Text, Part::Content),
    ("did", Kind::Text, Part::Content),
    ("this", Kind::Text, Part::Content),
    ("name", Kind::Text, Part::Content),
    ("description", Kind::Text, Part::Content),
    ("language", Kind::Text, Part::Content),
    ("runtime", Kind::Text, Part::Content),
    ("related_to", Kind::Ids, Part::Content),
    ("code", Kind::Text, Part::Content),
    ("input", Kind::Json, Part::Content),
    ("output", Kind::Json, Part::Content),
    ("error", Kind::Json, Part::Content),
    ("content", Kind::Json, Part::Content),
    ("metadata", Kind::Json, Part::Content),
];

/// Changes some column of some row of `acme`, until Postgres takes it and something is different.
pub(super) async fn tamper(stage: &mut Stage, rng: &mut StdRng) -> Done {
    loop {
        let (column, kind, part) = *COLUMNS.choose(rng).unwrap();
        let row = rng.random_range(1..=ROWS);
        let place = format!("tenant_id = 'acme' and position = {row}");
        let value = value(stage, column, kind, &place, rng).await;
        let update = format!(
            "update ledger.span set {column} = {value} where {place} and ({column}::text is distinct from ({value})::text)"
        );
        if !stage.attempt(&update).await {
            continue;
        }
        let done = Done::new(column, row as u64, part);
        return match column {
            "position" => done,
            // Without its last row a chain is whole as far as it goes, and its head says that it went further.
            "tenant_id" if row == ROWS => {
                Done::new(column, at_least(&HEADS, row as u64), Part::Checkpoint)
            }
            "tenant_id" => done,
            "curr_hash" if row == ROWS => Done {
                parts: vec![Part::Link, Part::Content],
                ..done.exactly()
            },
            _ => done.exactly(),
        };
    }
}

/// Another value, as SQL.
async fn value(
    stage: &mut Stage,
    column: &str,
    kind: Kind,
    place: &str,
    rng: &mut StdRng,
) -> String {
    let null = || "null".to_owned();
    let is_nulled = rng.random_ratio(1, 12);
    match kind {
        Kind::Text | Kind::Json => {
            let sql = format!("select {column}::text from ledger.span where {place}");
            let old: Option<String> = sqlx::query_scalar(&sql)
                .fetch_one(&mut stage.admin)
                .await
                .unwrap();
            let new = quoted(&changed(&old.unwrap_or_default(), rng));
            let cast = if matches!(kind, Kind::Json) {
                "json"
            } else {
                "text"
            };
            if is_nulled {
                null()
            } else {
                format!("{new}::{cast}")
            }
        }
        Kind::Bytes => {
            let sql = format!("select {column} from ledger.span where {place}");
            let old: Option<Vec<u8>> = sqlx::query_scalar(&sql)
                .fetch_one(&mut stage.admin)
                .await
                .unwrap();
            match old {
                Some(old) if !is_nulled => hexed(&turned(&old, rng)),
                Some(_) => null(),
                None => hexed(&rng.random::<[u8; 64]>()),
            }
        }
        Kind::Time if is_nulled => {
            quoted(["infinity", "-infinity"].choose(rng).unwrap()) + "::timestamptz"
        }
        Kind::Time => {
            let shift: i64 = rng.random_range(-1_000_000_000_000..1_000_000_000_000);
            format!("{column} + {shift} * interval '1 microsecond'")
        }
        Kind::Number if is_nulled => null(),
        Kind::Number => format!("{column} # {}", 1_i32 << rng.random_range(0..31)),
        Kind::Id if is_nulled => null(),
        Kind::Id => {
            let sql = format!("select {column} from ledger.span where {place}");
            let old: Option<Uuid> = sqlx::query_scalar(&sql)
                .fetch_one(&mut stage.admin)
                .await
                .unwrap();
            let new = old.unwrap_or_default().as_u128() ^ (1 << rng.random_range(0..128));
            quoted(&Uuid::from_u128(new).to_string()) + "::uuid"
        }
        Kind::Flag => format!("not {column}"),
        Kind::Ids => {
            let more = Uuid::from_u128(rng.random());
            let ways = [
                "null".to_owned(),
                "'{}'::uuid[]".to_owned(),
                "related_to[1:1]".to_owned(),
                "('[0:1]=' || related_to::text)::uuid[]".to_owned(),
                format!("related_to || '{more}'::uuid"),
                format!("array['{more}'::uuid] || related_to[2:]"),
                "related_to || null::uuid".to_owned(),
            ];
            ways.choose(rng).unwrap().clone()
        }
        Kind::Position => rng.random_range(100..1_000_000).to_string(),
        Kind::Tenant => quoted(
            ["elsewhere", "ACME", "acme ", "", "beta"]
                .choose(rng)
                .unwrap(),
        ),
    }
}
