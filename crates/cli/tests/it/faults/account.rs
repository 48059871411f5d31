//! What was promised, what became of it, and the rules that both obey.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Instant,
};

use logline_bus::Tail;
use logline_span::{Sealed, SpanId};

/// A receipt.
pub(super) struct Promise {
    pub(super) id: SpanId,
    pub(super) position: u64,
    pub(super) is_function: bool,
    pub(super) at: Instant,
}

/// Everything promised and everything sealed.
pub(super) struct Account {
    tail: Tail,
    spans: u64,
    ended: bool,
    /// The last position of each tenant.
    positions: HashMap<String, u64>,
    places: HashMap<SpanId, u64>,
    requests: HashSet<SpanId>,
    executions: HashSet<SpanId>,
    /// What the projector reported of a bus that forgot.
    incidents: u64,
    receipts: u64,
    functions: HashSet<SpanId>,
    /// Promised, and not yet seen.
    waiting: HashMap<SpanId, u64>,
    executing: HashSet<SpanId>,
}

impl Account {
    pub(super) fn new(tail: Tail) -> Self {
        Self {
            tail,
            spans: 0,
            ended: false,
            positions: HashMap::new(),
            places: HashMap::new(),
            requests: HashSet::new(),
            executions: HashSet::new(),
            incidents: 0,
            receipts: 0,
            functions: HashSet::new(),
            waiting: HashMap::new(),
            executing: HashSet::new(),
        }
    }

    pub(super) fn spans(&self) -> u64 {
        self.spans
    }

    pub(super) fn incidents(&self) -> u64 {
        self.incidents
    }

    /// Takes in what was promised.
    pub(super) fn promised(&mut self, promises: Vec<Promise>) {
        for promise in promises {
            self.receipts += 1;
            match self.places.get(&promise.id) {
                Some(place) => assert_eq!(*place, promise.position, "{}", promise.id),
                None => {
                    self.waiting.insert(promise.id, promise.position);
                }
            }
            if promise.is_function {
                self.functions.insert(promise.id);
                if !self.executions.contains(&promise.id) {
                    self.executing.insert(promise.id);
                }
            }
        }
    }

    /// Reads until everything promised, and every execution, has come by.
    pub(super) async fn settle(&mut self) {
        while !self.waiting.is_empty() || !self.executing.is_empty() {
            self.read().await;
        }
    }

    pub(super) async fn read_to_the_marker(&mut self) {
        while !self.ended {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let (offset, sealed) = self.tail.next().await.unwrap();
        self.spans += 1;
        assert_eq!(
            offset, self.spans,
            "LED-12: the n-th sealed span is message n"
        );
        self.enter(&sealed);
    }

    fn enter(&mut self, sealed: &Sealed) {
        let (span, position) = (&sealed.span, sealed.position.get());
        let last = self
            .positions
            .entry(span.tenant_id.to_string())
            .or_default();
        assert_eq!(position, *last + 1, "no gap, no repetition");
        *last = position;
        let earlier = self.places.insert(span.id, position);
        assert_eq!(earlier, None, "sealed twice: {}", span.id);
        if let Some(promised) = self.waiting.remove(&span.id) {
            assert_eq!(promised, position, "the receipt's place: {}", span.id);
        }
        match (span.entity_type.as_str(), span.parent_id) {
            ("request", Some(function)) => {
                assert!(self.requests.insert(function), "asked twice: {function}");
            }
            ("execution", Some(function)) => {
                let output = span.output.as_ref().map(|it| it.as_str().to_owned());
                assert_eq!(output, Some(format!("\"{function}\"")));
                assert!(self.executions.insert(function), "run twice: {function}");
                self.executing.remove(&function);
            }
            ("incident", _) if span.who == "edge:projector" => self.incidents += 1,
            ("marker", _) => self.ended = true,
            ("activity" | "function", _) => {}
            (other, _) => panic!(
                "nothing should have made this `{other}`: {}",
                sealed.to_json()
            ),
        }
    }

    /// Every function that somebody was promised has one request and one execution.
    pub(super) fn conclude(&self) {
        for function in &self.functions {
            assert!(self.requests.contains(function), "never asked: {function}");
            assert!(self.executions.contains(function), "never run: {function}");
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} receipts, {} spans, {} functions, {} incidents: 0 lost, 0 doubled, 0 gaps",
            self.receipts,
            self.spans,
            self.functions.len(),
            self.incidents
        )
    }
}
