//! Either side survives the other's loss (LED-15): the ledger made again from the timeline, the timeline from the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use logline_bus::{AppendError, Bus, Subject, TimelineEntry, Told};
use logline_ledger::{Batch, CommitError, Fingerprint, Row, ShardState, Writer};
use logline_span::chain::Unlinked;
use logline_span::{Hash, Head, Refusal, Sealed, TenantId};

use crate::stage::publish::entry;

/// Spans handled at a time.
const PAGE: u32 = 500;

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Spans of the timeline behind it.
    pub done: u64,
    /// Spans of the timeline in all.
    pub all: u64,
}

/// Why the ledger could not be made again from the timeline.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The timeline does not go back to where the ledger ends.
    #[error(
        "the timeline begins at message {first}, and the ledger ends before message {wanted}: an export must fill the gap"
    )]
    Incomplete {
        /// The first message of the timeline.
        first: u64,
        /// The message that comes next in the ledger.
        wanted: u64,
    },
    /// Ledger and timeline hold different spans: one of them is of another log, or was tampered with.
    #[error("message {number} of the timeline is not the span that the ledger holds there")]
    Parted {
        /// The message.
        number: u64,
    },
    /// A message reads as no sealed span.
    #[error("message {number} of the timeline is no sealed span")]
    Unreadable {
        /// The message.
        number: u64,
        /// Why.
        source: Refusal,
    },
    /// A message is not the next span of its tenant's chain.
    #[error("message {number} of the timeline is not the next span of its chain")]
    Broken {
        /// The message.
        number: u64,
        /// Why.
        source: Unlinked,
    },
    /// The bus could not be asked.
    #[error("the bus did not answer")]
    Bus(#[from] logline_bus::Error),
    /// The ledger could not be asked.
    #[error("the ledger did not answer")]
    Ledger(#[from] logline_ledger::Error),
    /// The ledger did not take the rows; those of earlier steps are there, and another restoration goes on with the next.
    #[error("the ledger did not take the rows")]
    Commit(#[from] CommitError),
}

/// Why the timeline could not be made again from the ledger.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The timeline goes on where the ledger ends: the ledger is the one that lost something.
    #[error(
        "the ledger holds {committed} spans, and the timeline goes on with what was sealed after them: restore the ledger first"
    )]
    LedgerBehind {
        /// Spans in the ledger.
        committed: u64,
    },
    /// The ledger lacks a row that it has counted.
    #[error("the ledger lacks the span that is message {number} of the timeline")]
    Missing {
        /// The message.
        number: u64,
    },
    /// The bus could not be asked.
    #[error("the bus did not answer")]
    Bus(#[from] logline_bus::Error),
    /// The bus did not take a span.
    #[error("the bus did not take what was published again")]
    Append(#[source] AppendError),
    /// The ledger could not be asked.
    #[error("the ledger did not answer")]
    Ledger(#[from] logline_ledger::Error),
}

/// What republishing found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Republished {
    /// The first message that was not what the ledger says, because of which the whole timeline was made anew.
    pub parted_at: Option<u64>,
    /// Spans published again.
    pub published: u64,
    /// Spans on the timeline.
    pub spans: u64,
}

/// Makes the ledger's rows again from the timeline, from where the ledger ends: after Postgres was lost, or went back to an
/// older state. Each span is checked against its chain before it is kept. Says how many came back.
///
/// No projector may seal meanwhile. What `INGEST` still holds is handled again by the next one, as repeats where it is
/// sealed: with the same ids and hashes (LED-7).
///
/// # Errors
/// See [`RestoreError`]; what came back before stays.
pub async fn restore(
    bus: &Bus,
    writer: &Writer,
    shard: u32,
    mut progress: impl FnMut(Progress),
) -> Result<u64, RestoreError> {
    let stream = bus.timeline_state().await?;
    let mut restoring = Restoring {
        log: writer.log_name().await?,
        state: writer.acquire(shard).await?,
        heads: HashMap::new(),
        writer,
        shard,
    };
    let before = restoring.state.timeline_seq;
    if stream.last <= before {
        return Ok(0);
    }
    let wanted = before.saturating_add(1);
    if stream.first > wanted {
        let first = stream.first;
        return Err(RestoreError::Incomplete { first, wanted });
    }
    restoring.compare(bus).await?;
    loop {
        let next = restoring.state.timeline_seq.saturating_add(1);
        let page = bus.timeline_page(next, PAGE as usize).await?;
        if page.is_empty() {
            return Ok(restoring.state.timeline_seq.saturating_sub(before));
        }
        restoring.take(page).await?;
        let done = restoring.state.timeline_seq;
        progress(Progress {
            done,
            all: stream.last.max(done),
        });
    }
}

struct Restoring<'a> {
    writer: &'a Writer,
    shard: u32,
    log: String,
    state: ShardState,
    heads: HashMap<TenantId, Head>,
}

impl Restoring<'_> {
    /// Whether the timeline is the continuation of what the ledger holds.
    async fn compare(&self, bus: &Bus) -> Result<(), RestoreError> {
        let number = self.state.timeline_seq;
        let kept = self.writer.timeline_hash(number).await?;
        let told = bus.timeline_page(number.max(1), 1).await?;
        let told = told.first().filter(|told| told.number == number);
        match (kept, told.map(read).transpose()?) {
            (Some(kept), Some(told)) if kept != told.curr_hash => {
                Err(RestoreError::Parted { number })
            }
            _ => Ok(()),
        }
    }

    async fn take(&mut self, page: Vec<Told>) -> Result<(), RestoreError> {
        let mut rows = Vec::with_capacity(page.len());
        for (told, wanted) in page.iter().zip(self.state.timeline_seq.saturating_add(1)..) {
            if told.number != wanted {
                let first = told.number;
                return Err(RestoreError::Incomplete { first, wanted });
            }
            let sealed = read(told)?;
            let content_hash = self.follow(wanted, &sealed).await?;
            self.state.sealed_through = self.state.sealed_through.max(sealed.received_at);
            rows.push(Row {
                sealed: Arc::new(sealed),
                content_hash,
                depth: told.depth,
                ingest_seq: 0,
                fingerprint: NO_MESSAGE,
            });
        }
        let state = &mut self.state;
        let taken = rows.len() as u64;
        let batch = Batch {
            shard: self.shard,
            epoch: state.epoch,
            after_ingest_seq: state.ingest_seq,
            through_ingest_seq: state.ingest_seq,
            through: state.ingest,
            sealed_through: state.sealed_through,
            timeline_first: state.timeline_seq.saturating_add(1),
            rows,
            answered: Vec::new(),
        };
        self.writer.commit(&batch).await?;
        state.timeline_seq = state.timeline_seq.saturating_add(taken);
        Ok(())
    }

    async fn follow(&mut self, number: u64, sealed: &Sealed) -> Result<Hash, RestoreError> {
        let tenant = &sealed.span.tenant_id;
        if !self.heads.contains_key(tenant) {
            let head = head(self.writer, &self.log, tenant).await?;
            self.heads.insert(tenant.clone(), head);
        }
        let Some(head) = self.heads.get_mut(tenant) else {
            return Err(RestoreError::Parted { number });
        };
        head.follow(sealed)
            .map_err(|source| RestoreError::Broken { number, source })
    }
}

/// Which message of `INGEST` brought a span is not known any more; no message has this digest.
const NO_MESSAGE: Fingerprint = Fingerprint {
    digest: [0; 16],
    time_ns: 0,
};

fn read(told: &Told) -> Result<Sealed, RestoreError> {
    let number = told.number;
    Sealed::from_json(&told.body).map_err(|source| RestoreError::Unreadable { number, source })
}

/// Makes the timeline hold what the ledger says, each span under its number (LED-12): after the bus was lost, went back to an
/// older state, or took what nobody sealed. Parts may go on meanwhile.
///
/// # Errors
/// See [`RepublishError`]; doing it again goes on from there.
pub async fn republish(
    bus: &Bus,
    writer: &Writer,
    shard: u32,
    mut progress: impl FnMut(Progress),
) -> Result<Republished, RepublishError> {
    let committed = writer.committed(shard).await?;
    let parted_at = parting(bus, writer, committed, &mut progress).await?;
    if parted_at.is_some() {
        bus.remake_timeline().await?;
    }
    let before = bus.timeline_last().await?;
    let mut last = before;
    while last < committed {
        let next = last.saturating_add(1);
        let rows = writer.timeline_from(next, PAGE).await?;
        let entries: Vec<TimelineEntry> = rows
            .iter()
            .zip(next..)
            .take_while(|((number, ..), wanted)| number == wanted)
            .map(|((_, sealed, depth), _)| entry(sealed, None, *depth))
            .collect();
        if entries.is_empty() {
            return Err(RepublishError::Missing { number: next });
        }
        match bus.timeline_append(next, &entries).await {
            // A projector at work may have been first.
            Ok(()) | Err(AppendError::Stale { .. } | AppendError::Behind { .. }) => {}
            Err(error @ AppendError::Bus(_)) => return Err(RepublishError::Append(error)),
        }
        last = bus.timeline_last().await?;
        progress(Progress {
            done: last,
            all: committed,
        });
    }
    Ok(Republished {
        parted_at,
        published: last.saturating_sub(before),
        spans: last,
    })
}

/// The first message of the timeline that is not what the ledger says; none where it merely ends too soon.
async fn parting(
    bus: &Bus,
    writer: &Writer,
    committed: u64,
    progress: &mut impl FnMut(Progress),
) -> Result<Option<u64>, RepublishError> {
    let stream = bus.timeline_state().await?;
    if stream.first > 1 {
        return Ok(Some(1));
    }
    let mut next = 1;
    while next <= stream.last.min(committed) {
        let rows = writer.timeline_from(next, PAGE).await?;
        let told = bus.timeline_page(next, rows.len().max(1)).await?;
        if rows.is_empty() {
            return Err(RepublishError::Missing { number: next });
        }
        let same = rows
            .iter()
            .zip(&told)
            .take_while(|((number, sealed, _), told)| {
                told.number == *number
                    && told.subject == Subject::timeline(&sealed.span).to_string()
                    && told.body == sealed.to_json().as_bytes()
            })
            .count();
        next = next.saturating_add(same as u64);
        if same < rows.len().min(told.len()) || told.is_empty() {
            return Ok(Some(next));
        }
        progress(Progress {
            done: next.saturating_sub(1),
            all: committed,
        });
    }
    if stream.last <= committed {
        return Ok(None);
    }
    // What lies beyond was either sealed and lost by the ledger, or never sealed.
    let beyond = bus.timeline_page(committed.saturating_add(1), 1).await?;
    match beyond.first().map(read) {
        Some(Ok(sealed)) if goes_on(writer, &sealed).await? => {
            Err(RepublishError::LedgerBehind { committed })
        }
        _ => Ok(Some(committed.saturating_add(1))),
    }
}

/// Whether the span is the next one of its tenant's chain.
async fn goes_on(writer: &Writer, sealed: &Sealed) -> Result<bool, logline_ledger::Error> {
    let tenant = &sealed.span.tenant_id;
    let log = writer.log_name().await?;
    let mut head = head(writer, &log, tenant).await?;
    Ok(head.follow(sealed).is_ok())
}

/// The end of a tenant's chain in the ledger.
async fn head(
    writer: &Writer,
    log: &str,
    tenant: &TenantId,
) -> Result<Head, logline_ledger::Error> {
    let mut kept = writer.heads(std::slice::from_ref(tenant)).await?;
    Ok(kept
        .remove(tenant)
        .unwrap_or_else(|| Head::genesis(&format!("{log}/{tenant}"))))
}
