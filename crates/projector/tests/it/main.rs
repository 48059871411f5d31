//! The projector against real servers.

mod world;

mod failing;
mod purging;
mod refusing;
mod sealing;
mod taking_over;
