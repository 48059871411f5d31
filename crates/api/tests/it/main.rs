//! The API against a real bus, a real ledger and a projector in this process.

mod client;
mod world;

mod away;
mod bad_input;
mod browser;
mod following;
mod log;
mod publishing;
mod reading;
