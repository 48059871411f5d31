//! What readers are told of a signature (SPAN-10): whether its key was its owner's when the span was received.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use logline_ledger::{Error, ReaderSession};
use logline_span::{Position, Sealed, TenantId};
use tokio::sync::OnceCell;

/// Answers that are kept: all streams meet the same spans at about the same time.
const KNOWN_MAX: usize = 10_000;

type Row = (TenantId, Position);

/// Answers of late. None ever changes: what is bound or revoked afterwards counts for what is received afterwards.
#[derive(Default)]
pub(crate) struct Signatures(Mutex<Known>);

#[derive(Default)]
struct Known {
    answers: HashMap<Row, Arc<OnceCell<bool>>>,
    /// The oldest first.
    order: VecDeque<Row>,
}

impl Signatures {
    /// One span as its reader sees it; whoever needs the same answer meanwhile waits for it.
    pub(crate) async fn shown(
        &self,
        session: &ReaderSession,
        sealed: &Sealed,
    ) -> Result<String, Error> {
        let is_bound = match row(sealed) {
            None => false,
            Some(row) => {
                let answer = self.answer(&row);
                let ask = async || {
                    let bound = session.signed_by_bound(&[row]).await?;
                    Ok::<_, Error>(bound.first().copied().unwrap_or_default())
                };
                *answer.get_or_try_init(ask).await?
            }
        };
        Ok(text(sealed, is_bound))
    }

    fn answer(&self, row: &Row) -> Arc<OnceCell<bool>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        if let Some(answer) = known.answers.get(row) {
            return Arc::clone(answer);
        }
        if known.order.len() >= KNOWN_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.answers.remove(&oldest);
        }
        known.order.push_back(row.clone());
        Arc::clone(known.answers.entry(row.clone()).or_default())
    }
}

/// Spans as their reader sees them.
pub(crate) async fn shown(session: &ReaderSession, spans: &[Sealed]) -> Result<Vec<String>, Error> {
    let rows: Vec<Row> = spans.iter().filter_map(row).collect();
    let bound = if rows.is_empty() {
        Vec::new()
    } else {
        session.signed_by_bound(&rows).await?
    };
    let mut bound = bound.into_iter();
    let texts = spans.iter().map(|sealed| {
        let is_bound = row(sealed).and_then(|_| bound.next());
        text(sealed, is_bound.unwrap_or_default())
    });
    Ok(texts.collect())
}

/// The row to ask about. What the system publishes for somebody it signs itself: that is never the owner's word.
fn row(sealed: &Sealed) -> Option<Row> {
    let span = &sealed.span;
    let is_owners = span.signature.is_some() && sealed.published_by == span.owner_id;
    is_owners.then(|| (span.tenant_id.clone(), sealed.position))
}

fn text(sealed: &Sealed, is_bound: bool) -> String {
    let mut text = sealed.to_json();
    if sealed.span.signature.is_some() && text.pop().is_some() {
        text.push_str(if is_bound {
            r#","signed_by":"bound"}"#
        } else {
            r#","signed_by":"unbound"}"#
        });
    }
    text
}
