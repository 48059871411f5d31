//! Users by HTTP: goose runs them, and what they saw is kept here.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use goose::{
    GooseError,
    config::GooseConfiguration,
    goose::{GooseMethod, GooseRequest, GooseUser, Scenario, Transaction, TransactionFunction},
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    stack::Addresses,
    table::{Level, Table},
};

/// P95 from received to sealed by HTTP (the promise).
pub(crate) const INGEST_P95_MS: f64 = 1200.0;

/// Faults that are shown; the others are only counted.
const FAULTS_SHOWN: usize = 5;

/// Most spans of one page.
const PAGE: usize = 1000;

/// What all users of a scenario share.
pub(crate) struct Crowd {
    pub(crate) addresses: Addresses,
    /// Tells the spans of this run from all others.
    pub(crate) entity_type: String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    waits: HashMap<&'static str, Vec<Duration>>,
    accepted: Vec<String>,
    faults: Vec<String>,
}

/// What one user does.
pub(crate) type Work = for<'r> fn(
    &'r mut GooseUser,
    &'r Crowd,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'r>>;

impl Crowd {
    pub(crate) fn new(addresses: &Addresses) -> Arc<Self> {
        Arc::new(Self {
            addresses: addresses.clone(),
            entity_type: entity_type(),
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps how long something took.
    pub(crate) fn waited(&self, what: &'static str, wait: Duration) {
        self.seen().waits.entry(what).or_default().push(wait);
    }

    /// Keeps the id of a span that the API has said to be sealed.
    pub(crate) fn accepted(&self, id: String) {
        self.seen().accepted.push(id);
    }

    /// Keeps what should not have been.
    pub(crate) fn fault(&self, fault: String) {
        self.seen().faults.push(fault);
    }

    /// How long the things of one name took; they are forgotten here.
    pub(crate) fn waits(&self, what: &'static str) -> Vec<Duration> {
        self.seen().waits.remove(what).unwrap_or_default()
    }

    /// Tells of the faults, and holds the timeline against what was accepted.
    pub(crate) async fn account(&self, name: &str, table: &mut Table) -> Result<()> {
        self.account_by(&self.addresses.api, name, table).await
    }

    /// The same, with the timeline read from another API of the same stack.
    pub(crate) async fn account_by(&self, api: &str, name: &str, table: &mut Table) -> Result<()> {
        let (faults, accepted) = {
            let mut seen = self.seen();
            (
                std::mem::take(&mut seen.faults),
                std::mem::take(&mut seen.accepted),
            )
        };
        for fault in faults.iter().take(FAULTS_SHOWN) {
            eprintln!("loadtest: {name}: {fault}");
        }
        table.count(format!("{name}: errors"), Level::Most(0.0), faults.len());
        table.count(
            format!("{name}: spans accepted"),
            Level::Least(1.0),
            accepted.len(),
        );
        let on_timeline = self.timeline(api).await?;
        let lost = accepted
            .iter()
            .filter(|id| !on_timeline.contains_key(*id))
            .count();
        let doubled = on_timeline.values().filter(|times| **times > 1).count();
        table.count(
            format!("{name}: accepted spans lost"),
            Level::Most(0.0),
            lost,
        );
        table.count(format!("{name}: spans doubled"), Level::Most(0.0), doubled);
        Ok(())
    }

    /// How often each span of this run is on the timeline, page by page.
    async fn timeline(&self, api: &str) -> Result<HashMap<String, usize>> {
        let client = Client::new();
        let mut found = HashMap::new();
        let mut cursor: Option<String> = None;
        loop {
            let entity_type = &self.entity_type;
            let mut url = format!("{api}/api/timeline?limit={PAGE}&entity_type={entity_type}");
            if let Some(cursor) = &cursor {
                url.push_str("&cursor=");
                url.push_str(cursor);
            }
            let request = client.get(url).bearer_auth(&self.addresses.token);
            let page = body(request.send().await?).await?;
            for id in spans(&page)?.iter().filter_map(|span| text(span, "id")) {
                *found.entry(id).or_default() += 1;
            }
            cursor = text(&page, "next");
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }
}

/// A type that no other run has.
pub(crate) fn entity_type() -> String {
    format!("load.r{}", uuid::Uuid::new_v4().simple())
}

/// A step of a user; what goes wrong in it is a fault.
pub(crate) fn step(crowd: &Arc<Crowd>, work: Work) -> Transaction {
    let crowd = Arc::clone(crowd);
    let function: TransactionFunction = Arc::new(move |user| {
        let crowd = Arc::clone(&crowd);
        Box::pin(async move {
            if let Err(error) = work(user, &crowd).await {
                crowd.fault(format!("{error:#}"));
            }
            Ok(())
        })
    });
    Transaction::new(function)
}

/// How many users there are, and for how long.
pub(crate) struct Attack {
    pub(crate) users: usize,
    pub(crate) ramp_s: usize,
    pub(crate) run_s: u64,
    /// How often each does its work; 0 for as long as there is time.
    pub(crate) iterations: usize,
}

/// Lets users loose and waits until all are done.
pub(crate) async fn attack(crowd: &Crowd, attack: &Attack, scenario: Scenario) -> Result<()> {
    let run_time = if attack.iterations == 0 {
        attack.run_s.to_string()
    } else {
        String::new()
    };
    let mut configuration = GooseConfiguration::default();
    configuration.host.clone_from(&crowd.addresses.api);
    configuration.users = Some(attack.users);
    let each_second = attack.users.div_ceil(attack.ramp_s.max(1));
    configuration.hatch_rate = Some(each_second.to_string());
    configuration.run_time = run_time;
    configuration.iterations = attack.iterations;
    configuration.quiet = 2;
    configuration.no_reset_metrics = attack.iterations == 0;
    configuration.no_print_metrics = true;
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    let goose = goose::GooseAttack::initialize_with_config(configuration).map_err(named)?;
    let running = goose.register_scenario(scenario).execute();
    let metrics = running.await.map_err(named)?;
    ensure!(
        metrics.maximum_users == attack.users,
        "goose ran {} users of {}",
        metrics.maximum_users,
        attack.users
    );
    Ok(())
}

/// What goose shows of an error leaves out what it is about.
fn named(error: GooseError) -> anyhow::Error {
    anyhow!("goose: {error:?}")
}

/// Sends a request as one of goose's users.
pub(crate) async fn send(
    user: &mut GooseUser,
    crowd: &Crowd,
    path: &str,
    body: Option<&Value>,
) -> Result<Response> {
    let (method, name) = match body {
        Some(_) => (GooseMethod::Post, "publish"),
        None => (GooseMethod::Get, "read"),
    };
    let failed = |error| anyhow!("the request failed: {error}");
    let mut builder = user
        .get_request_builder(&method, path)
        .map_err(failed)?
        .bearer_auth(&crowd.addresses.token);
    if let Some(body) = body {
        builder = builder.json(body);
    }
    let request = GooseRequest::builder()
        .method(method)
        .path(path)
        .name(name)
        .set_request_builder(builder)
        .build();
    let answered = user.request(request).await.map_err(failed)?;
    answered.response.context("no answer")
}

/// A span of this run.
pub(crate) fn span(crowd: &Crowd, this: &str) -> Value {
    json!({"entity_type": crowd.entity_type, "who": "loadtest", "did": "measured", "this": this, "visibility": "tenant"})
}

/// Publishes a span and waits until it is sealed; gives its id.
pub(crate) async fn publish(user: &mut GooseUser, crowd: &Crowd) -> Result<String> {
    let began = Instant::now();
    let response = send(user, crowd, "/api/spans", Some(&span(crowd, "door"))).await?;
    ensure!(
        response.status() == StatusCode::OK,
        "publishing was answered {}, not with a receipt",
        response.status()
    );
    let receipt = body(response).await?;
    crowd.waited("publish", began.elapsed());
    let id = text(&receipt, "id").context("a receipt without an id")?;
    ensure!(
        receipt.get("position").is_some(),
        "a receipt that is not of a sealed span: {receipt}"
    );
    crowd.accepted(id.clone());
    Ok(id)
}

/// The body of a good answer, as JSON.
pub(crate) async fn body(response: Response) -> Result<Value> {
    let status = response.status();
    let bytes = response.bytes().await.context("half an answer")?;
    ensure!(
        status.is_success(),
        "answered {status}: {}",
        String::from_utf8_lossy(&bytes)
    );
    serde_json::from_slice(&bytes).context("an answer that is no JSON")
}

/// The spans of a page.
pub(crate) fn spans(page: &Value) -> Result<&Vec<Value>> {
    page.get("spans")
        .and_then(Value::as_array)
        .context("a page without `spans`")
}

/// A member that is text.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}
