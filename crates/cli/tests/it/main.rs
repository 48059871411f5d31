//! The binary `logline` as its users run it: real child processes, real servers.

mod dev;
mod faults;
mod offline;
mod process;
mod quiet;
