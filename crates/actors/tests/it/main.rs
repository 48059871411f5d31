//! The actors against real servers, with the projector in the same process.

mod world;

mod executing;
mod scheduling;
mod surviving;
