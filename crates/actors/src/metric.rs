//! Every metric that this crate writes. Names are never reused.

/// Messages handled, by `role` and `outcome`.
pub const HANDLED: &str = "actors_handled_total";
/// Crashes of a role, by `role`.
pub const CRASHES: &str = "actors_crashes_total";
/// Waits for a lost bus or ledger, by `role`.
pub const WAITS: &str = "actors_waits_total";
/// Executions published, by `status`.
pub const EXECUTIONS: &str = "executions_total";
/// Spans of the system that broke the rules and were replaced, by `code`.
pub const REFUSED: &str = "actors_refused_total";
/// How long functions ran, milliseconds.
pub const EXECUTION_DURATION: &str = "execution_duration_ms";
/// Functions running at this moment.
pub const RUNNING: &str = "executions_running";
