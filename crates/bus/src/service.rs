//! The NATS service `logline`: publishing by request and reply (BUS-2).

use logline_span::Limits;
use tokio_util::sync::CancellationToken;

use crate::{Bus, Error};

/// The service, ready to answer.
pub struct PublishService {}

impl Bus {
    /// Registers the service `logline`; it answers once [`PublishService::run`] is awaited.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn serve_publish(&self, limits: Limits) -> Result<PublishService, Error> {
        todo!()
    }
}

impl PublishService {
    /// Answers requests until it is told to stop, then finishes those it took.
    pub async fn run(self, shutdown: CancellationToken) {
        todo!()
    }
}
