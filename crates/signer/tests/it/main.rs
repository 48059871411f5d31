//! The signer against real servers.

#[cfg(test)]
mod world;

#[cfg(test)]
mod healing;
#[cfg(test)]
mod idling;
#[cfg(test)]
mod proving;
#[cfg(test)]
mod refusing;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod stranger;
#[cfg(test)]
mod witnessing;
