//! How much load there is: the long form for figures, the short one for the gate.

use std::time::Duration;

/// The sizes of all scenarios.
#[derive(Debug)]
pub(crate) struct Scale {
    /// Files that a process must be able to open: a connection is one at each of its ends.
    pub(crate) files: u64,
    /// Publishers by HTTP at the top of the ramp.
    pub(crate) publishers: usize,
    /// How long the ramp takes, and how long all of them publish.
    pub(crate) ramp_s: usize,
    pub(crate) publishing_s: u64,
    /// Users who publish, query and page, and for how long.
    pub(crate) mixed_users: usize,
    pub(crate) mixed_s: u64,
    /// Streams at once, and the spans that each must see.
    pub(crate) subscribers: usize,
    pub(crate) streamed_spans: u64,
    /// Between two of those spans.
    pub(crate) streamed_every: Duration,
    /// Users of the bursts, and requests of each.
    pub(crate) burst_users: usize,
    pub(crate) burst_requests: usize,
    /// Fixed rates of the publisher on the bus, and for how long each.
    pub(crate) bus_rates: &'static [u32],
    pub(crate) bus_s: u32,
    /// Spans published without a pause.
    pub(crate) bus_saturated: u32,
    /// Messages of the `nats` client's bench.
    pub(crate) bench_messages: u32,
    /// Users of the k6 scripts, and for how long.
    pub(crate) k6_users: u32,
    pub(crate) k6_s: u32,
}

impl Scale {
    pub(crate) const LONG: Self = Self {
        files: 4096,
        publishers: 1000,
        ramp_s: 20,
        publishing_s: 30,
        mixed_users: 100,
        mixed_s: 30,
        subscribers: 1000,
        streamed_spans: 150,
        streamed_every: Duration::from_millis(200),
        burst_users: 20,
        burst_requests: 100,
        bus_rates: &[100, 500],
        bus_s: 15,
        bus_saturated: 30_000,
        bench_messages: 100_000,
        k6_users: 50,
        k6_s: 30,
    };

    pub(crate) const SHORT: Self = Self {
        files: 512,
        publishers: 50,
        ramp_s: 1,
        publishing_s: 3,
        mixed_users: 20,
        mixed_s: 3,
        subscribers: 50,
        streamed_spans: 40,
        streamed_every: Duration::from_millis(50),
        burst_users: 5,
        burst_requests: 40,
        bus_rates: &[100],
        bus_s: 2,
        bus_saturated: 1000,
        bench_messages: 2000,
        k6_users: 5,
        k6_s: 3,
    };
}
