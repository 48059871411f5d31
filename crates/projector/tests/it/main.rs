//! The projector against real servers.

#[cfg(test)]
mod world;

#[cfg(test)]
mod failing;
#[cfg(test)]
mod forgetting;
#[cfg(test)]
mod purging;
#[cfg(test)]
mod recovering;
#[cfg(test)]
mod refusing;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod taking_over;
