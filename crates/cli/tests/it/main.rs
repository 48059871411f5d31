//! The binary `logline` as its users run it: real child processes, real servers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that uses them"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a scenario is read from its beginning to its end"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "long runs are asked for by the environment; publishers pause after a failure, idleness takes time"
)]

mod access;
mod dev;
mod faults;
mod matrix;
mod offline;
mod outage;
mod process;
mod proving;
mod psql;
mod quarantine;
mod quiet;
mod recovery;
mod steps;
mod system;
mod traces;
