//! Requests beyond the rate limit: each is either taken or refused with 429 and a time to come back at.
//!
//! A stack of our own runs twice here: its API without a limit must take all, another with one must refuse what is beyond.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use goose::goose::{GooseUser, Scenario};
use reqwest::{StatusCode, header::RETRY_AFTER};

use crate::{
    scale::Scale,
    stack::{Addresses, RATE_BURST, RATE_PER_SECOND, Stack},
    table::{Level, Table},
    users::{self, Attack, Crowd, body, send, step, text},
};

pub(crate) async fn run(stack: &Stack, scale: &Scale, table: &mut Table) -> Result<()> {
    let (refused, _) = burst(stack, stack.addresses(), scale, "burst", table).await?;
    let Some(limited) = stack.limited()? else {
        return Ok(());
    };
    table.count(
        "burst without a limit: requests refused",
        Level::Most(0.0),
        refused,
    );
    let (refused, allowed) = burst(
        stack,
        &limited.addresses,
        scale,
        "burst beyond the limit",
        table,
    )
    .await?;
    table.count(
        "burst beyond the limit: requests refused",
        Level::Least(1.0),
        refused,
    );
    table.add(
        "burst beyond the limit: taken, of those allowed",
        Level::Most(1.0),
        allowed,
    );
    Ok(())
}

/// How many were refused, and how many were taken as a share of what a limit allows.
async fn burst(
    stack: &Stack,
    addresses: &Addresses,
    scale: &Scale,
    name: &str,
    table: &mut Table,
) -> Result<(usize, f64)> {
    let crowd = Crowd::new(addresses);
    let attack = Attack {
        users: scale.burst_users,
        ramp_s: 1,
        run_s: 0,
        iterations: scale.burst_requests,
    };
    let scenario = Scenario::new("bursts")
        .register_transaction(step(&crowd, |user, crowd| Box::pin(ask(user, crowd))));
    let began = Instant::now();
    users::attack(&crowd, &attack, scenario).await?;
    let seconds = began.elapsed().as_secs_f64();
    let taken = crowd.waits("taken").len();
    let refused = crowd.waits("refused");
    if let Some(pause) = refused.iter().max() {
        comes_back(&crowd, *pause).await?;
    }
    // By the API without a limit: this one has just been asked for all that it gives.
    let api = &stack.addresses().api;
    crowd.account_by(api, name, table).await?;
    let asked = scale.burst_users.saturating_mul(scale.burst_requests);
    let answered = taken.saturating_add(refused.len());
    table.count(
        format!("{name}: requests without a right answer"),
        Level::Most(0.0),
        asked.saturating_sub(answered),
    );
    let allowed = f64::from(RATE_BURST) + f64::from(RATE_PER_SECOND) * seconds;
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    Ok((refused.len(), taken as f64 / allowed))
}

/// One request; its answer is right if it is a receipt, or a refusal that says when to come back.
async fn ask(user: &mut GooseUser, crowd: &Crowd) -> Result<()> {
    let began = Instant::now();
    let span = users::span(crowd, "door");
    let response = send(user, crowd, "/api/spans", Some(&span)).await?;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let after = response.headers().get(RETRY_AFTER);
        let seconds: u64 = after
            .context("429 without Retry-After")?
            .to_str()?
            .parse()
            .context("Retry-After is no number of seconds")?;
        ensure!(seconds >= 1, "Retry-After says {seconds}");
        crowd.waited("refused", Duration::from_secs(seconds));
        return Ok(());
    }
    let receipt = body(response).await?;
    crowd.accepted(text(&receipt, "id").context("a receipt without an id")?);
    crowd.waited("taken", began.elapsed());
    Ok(())
}

/// Whoever waits as long as it is told is taken.
async fn comes_back(crowd: &Crowd, pause: Duration) -> Result<()> {
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
    timer.tick().await;
    let request = reqwest::Client::new()
        .post(format!("{}/api/spans", crowd.addresses.api))
        .bearer_auth(&crowd.addresses.token)
        .json(&users::span(crowd, "gate"));
    if let Err(error) = body(request.send().await?).await {
        crowd.fault(format!(
            "refused after the wait that Retry-After names: {error:#}"
        ));
    }
    Ok(())
}
