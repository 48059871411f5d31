//! Logs, traces and metrics of a LogLine process: the one place that names OpenTelemetry.
//!
//! [`init`] installs the subscriber once per process; [`propagation`] carries the W3C trace context
//! across borders as the text of a `traceparent`; [`metrics`] renders what the process counted.
//! Other crates use the `tracing` and `metrics` macros and never see an exporter.
//! Nothing here reads the environment, and no content of a span ever reaches it.

pub mod metrics;
pub mod propagation;

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How long the last traces may take to leave when a process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How log lines are written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line (OBS-3), for services.
    Json,
    /// Short lines for a person's terminal.
    Text,
}

/// What [`init`] installs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `service.name` of exported traces, such as `logline`.
    pub service: String,
    /// Log filter directives, such as `info` or `logline=debug`.
    pub log_filter: String,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Base URL of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`; `None` exports nothing.
    pub otlp_endpoint: Option<String>,
}

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("invalid log filter `{filter}`")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The collector's address was refused.
    #[error("invalid otlp endpoint `{endpoint}`")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What the exporter said.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The process has a subscriber already.
    #[error("telemetry is installed already")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry alive; dropping it sends the last traces.
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

/// Installs logs and, where an endpoint is given, the export of traces, for the whole process.
///
/// # Errors
/// A filter or endpoint that does not parse, or a second call in one process.
pub fn init(config: &Config) -> Result<Guard, Error> {
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|source| Error::Filter {
        filter: config.log_filter.clone(),
        source,
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.compact().with_target(false).boxed(),
    };
    let provider = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| tracer_provider(endpoint, &config.service))
        .transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("logline"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // The exporter's own HTTP client must not trace itself.
            .with_filter(EnvFilter::new(
                "info,hyper=off,reqwest=off,opentelemetry=off",
            ))
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(Error::Installed)?;
    Ok(Guard { provider })
}

fn tracer_provider(endpoint: &str, service: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_headers(std::collections::HashMap::new())
        .build()
        .map_err(|source| Error::Endpoint {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let resource = Resource::builder_empty()
        .with_attributes([opentelemetry::KeyValue::new(
            "service.name",
            service.to_owned(),
        )])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
