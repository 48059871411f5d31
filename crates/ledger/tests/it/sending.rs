use logline_ledger::{
    Actors, AsOf, Batch, Fingerprint, Provision, Query, ReaderSession, Scope, Verifier, Wanted,
    Writer,
};
use logline_span::{Position, SpanId, TenantId};

fn can_be_spawned<F: Future + Send>(_: F) {}

/// Callers run these on tasks of their own.
#[expect(dead_code, reason = "it holds where it compiles")]
fn every_call_can_be_spawned(
    (writer, reader, verifier, actors): (Writer, ReaderSession, Verifier, Actors),
    (tenant, id, batch, provision): (TenantId, SpanId, Batch, Provision),
    (wanted, query, scope): (Vec<Wanted>, Query, Scope),
) {
    let fingerprint = Fingerprint {
        digest: [0; 16],
        time_ns: 0,
    };
    can_be_spawned(writer.acquire(0));
    can_be_spawned(writer.resume(0, 1));
    can_be_spawned(writer.commit(&batch));
    can_be_spawned(writer.log_name());
    can_be_spawned(writer.heads(std::slice::from_ref(&tenant)));
    can_be_spawned(writer.existing(&wanted));
    can_be_spawned(writer.versions(&[]));
    can_be_spawned(writer.timeline_from(1, 1));
    can_be_spawned(writer.outcome(1, fingerprint));
    can_be_spawned(reader.get(id, None, AsOf::Latest));
    can_be_spawned(reader.timeline(&query));
    can_be_spawned(reader.outcome(1, fingerprint.digest));
    can_be_spawned(verifier.verify(&scope, |_| ()));
    can_be_spawned(actors.latest(&tenant, id));
    can_be_spawned(actors.as_of(&tenant, id, Position::FIRST));
    can_be_spawned(logline_ledger::migrate("", &provision));
}
