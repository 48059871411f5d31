//! Following the timeline without a durable place in it.

use logline_span::Sealed;

use crate::{Bus, Error, Filter};

/// Where a tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is sealed from now on.
    Latest,
    /// After a number of the timeline; 0 for everything.
    After(u64),
}

/// Sealed spans in order, as they are published.
pub struct Tail {}

impl Bus {
    /// Follows the timeline. Empty filters mean all of it.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn tail(&self, filters: Vec<Filter>, start: Start) -> Result<Tail, Error> {
        todo!()
    }
}

impl Tail {
    /// Waits for the next span and its number. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn next(&mut self) -> Result<(u64, Sealed), Error> {
        todo!()
    }
}
