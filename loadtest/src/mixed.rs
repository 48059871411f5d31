//! Users who publish, read back what they published, query by a field and page through the timeline.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use goose::goose::{GooseUser, Scenario};

use crate::{
    scale::Scale,
    stack::Addresses,
    table::{Level, Table},
    users::{self, Attack, Crowd, INGEST_P95_MS, body, publish, send, spans, step, text},
};

/// Spans of one page.
const PAGE: usize = 20;

/// Reads for every publish.
const QUERIES: usize = 2;
const PAGES: usize = 2;

pub(crate) async fn run(addresses: &Addresses, scale: &Scale, table: &mut Table) -> Result<()> {
    let crowd = Crowd::new(addresses);
    let attack = Attack {
        users: scale.mixed_users,
        ramp_s: 1,
        run_s: scale.mixed_s,
        iterations: 0,
    };
    users::attack(&crowd, &attack, scenario(&crowd)?).await?;
    let name = format!("{} mixed users", scale.mixed_users);
    let publishing = crowd.waits("publish");
    table.waits(
        &format!("{name}: publish to receipt"),
        Level::Most(INGEST_P95_MS),
        publishing,
    );
    for what in ["read back", "query", "page"] {
        table.waits(&format!("{name}: {what}"), Level::Told, crowd.waits(what));
    }
    crowd.account(&name, table).await
}

fn scenario(crowd: &Arc<Crowd>) -> Result<Scenario> {
    let there_and_back = step(crowd, |user, crowd| Box::pin(there_and_back(user, crowd)));
    let query = step(crowd, |user, crowd| Box::pin(query(user, crowd)));
    let pages = step(crowd, |user, crowd| Box::pin(pages(user, crowd)));
    Ok(Scenario::new("mixed")
        .register_transaction(there_and_back)
        .register_transaction(query.set_weight(QUERIES)?)
        .register_transaction(pages.set_weight(PAGES)?))
}

async fn there_and_back(user: &mut GooseUser, crowd: &Crowd) -> Result<()> {
    let id = publish(user, crowd).await?;
    let began = Instant::now();
    let read = body(send(user, crowd, &format!("/api/spans/{id}"), None).await?).await?;
    crowd.waited("read back", began.elapsed());
    ensure!(
        text(&read, "id") == Some(id.clone()),
        "the span {id} was read back as another"
    );
    Ok(())
}

async fn query(user: &mut GooseUser, crowd: &Crowd) -> Result<()> {
    let path = format!(
        "/api/spans?entity_type={}&who=loadtest&limit={PAGE}",
        crowd.entity_type
    );
    let began = Instant::now();
    let page = body(send(user, crowd, &path, None).await?).await?;
    crowd.waited("query", began.elapsed());
    for span in spans(&page)? {
        ensure!(
            text(span, "entity_type").as_ref() == Some(&crowd.entity_type),
            "a query gave a span that it did not ask for"
        );
    }
    Ok(())
}

/// Two pages, the second of which goes on where the first ended.
async fn pages(user: &mut GooseUser, crowd: &Crowd) -> Result<()> {
    let path = format!("/api/timeline?limit={PAGE}");
    let began = Instant::now();
    let first = body(send(user, crowd, &path, None).await?).await?;
    crowd.waited("page", began.elapsed());
    let Some(next) = text(&first, "next") else {
        return Ok(());
    };
    let began = Instant::now();
    let second = send(user, crowd, &format!("{path}&cursor={next}"), None).await?;
    let second = body(second).await?;
    crowd.waited("page", began.elapsed());
    let last = text(
        spans(&first)?
            .last()
            .context("an empty page that goes on")?,
        "id",
    );
    ensure!(
        spans(&second)?.iter().all(|span| text(span, "id") != last),
        "the second page repeats the end of the first"
    );
    Ok(())
}
