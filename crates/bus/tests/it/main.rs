//! The bus against a real nats-server, with the settings of a single machine.

mod consumers;
mod idle;
mod intake;
mod poison;
mod publishing;
mod service;
mod streams;
mod support;
mod tails;
mod timeline;
mod timers;
