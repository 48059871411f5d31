//! What the process counted, in the text format of Prometheus.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the histograms whose names end in `_ms`, in milliseconds: from a sandbox call to a stalled disk.
const BUCKETS_MS: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0, 30_000.0,
];

/// How often samples are folded into buckets where nobody scrapes, so that they do not pile up in memory.
const FOLD_INTERVAL: Duration = Duration::from_secs(30);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The process's metrics as Prometheus text; empty where another recorder was installed first.
///
/// The first call installs the recorder, so it belongs at the start of the process.
#[must_use]
pub fn render() -> String {
    handle().map(PrometheusHandle::render).unwrap_or_default()
}

/// Starts counting; what was counted earlier is lost.
pub fn install() {
    handle();
}

fn handle() -> Option<&'static PrometheusHandle> {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), &BUCKETS_MS);
            let recorder = builder.ok()?.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            let folding = handle.clone();
            std::thread::Builder::new()
                .name("metrics-fold".to_owned())
                .spawn(move || {
                    loop {
                        std::thread::park_timeout(FOLD_INTERVAL);
                        folding.run_upkeep();
                    }
                })
                .ok()?;
            Some(handle)
        })
        .as_ref()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_counted_metric_is_rendered() {
        super::install();
        metrics::counter!("things_total", "kind" => "a").increment(2);
        metrics::histogram!("wait_ms").record(3.0);
        let text = super::render();
        assert!(text.contains("things_total{kind=\"a\"} 2"), "{text}");
        assert!(text.contains("wait_ms_bucket{le=\"5\"} 1"), "{text}");
    }
}
