//! The signer against real servers.

#[cfg(test)]
mod world;

#[cfg(test)]
mod refusing;
#[cfg(test)]
mod signing;
