//! Why the bus did not do what was asked.

/// The source of an error of the NATS client or server, as it came.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed operation of the bus. The caller may try again, except where a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server answers at the address.
    #[error("no connection to the bus at {url}")]
    Connect {
        /// The address, without credentials.
        url: String,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// No stream takes messages for the address: the streams are missing or their server is away.
    #[error("no stream takes messages for `{subject}`")]
    NoStream {
        /// The address that was published to.
        subject: String,
    },
    /// Receipts are for messages of `ingest.` alone; trying again does not help.
    #[error("nobody sends receipts for `{subject}`")]
    NoReceipt {
        /// The address that was to be published to.
        subject: String,
    },
    /// The stream is full and refuses new messages until something is sealed and purged (BUS-4).
    #[error("stream is full")]
    Full,
    /// The message is larger than the bus takes; trying again does not help.
    #[error("message of {bytes} bytes is larger than the bus takes")]
    TooLarge {
        /// Size of the body.
        bytes: usize,
    },
    /// No acknowledgement came in time: the message may or may not be on the bus.
    #[error("no acknowledgement in time")]
    Timeout,
    /// The server called the message a duplicate of another one: it was not stored (BUS-3).
    #[error("message was taken for a duplicate and not stored")]
    Duplicate,
    /// The server refused the request with a code of its own.
    #[error("server refused with code {code}: {description}")]
    Refused {
        /// The JetStream error code.
        code: u64,
        /// The server's sentence.
        description: String,
    },
    /// The client failed, or an answer of the server made no sense.
    #[error("{operation} failed")]
    Client {
        /// What was being done.
        operation: &'static str,
        /// What the client said.
        #[source]
        source: Source,
    },
    /// The stream answered that it does not keep a message which it must; a replica may lag behind.
    #[error("message {seq} is missing from the stream, which holds {first} to {last}")]
    Missing {
        /// The number of the message.
        seq: u64,
        /// The first message that the stream holds.
        first: u64,
        /// The last message that the stream holds.
        last: u64,
    },
    /// `INGEST` forgot a message that was handed out, and gives its number to another one (LED-17): open the intake again,
    /// from where bus and ledger agree.
    #[error("the bus forgot message {seq}, which was handed out")]
    Forgotten {
        /// The number of the message.
        seq: u64,
    },
    /// The timeline was to be followed after a number that it has not reached.
    #[error("the timeline ends at {last}")]
    BeyondEnd {
        /// The last message of the timeline.
        last: u64,
    },
    /// Another process holds, or may take, what this one read exclusively.
    #[error("another process has taken over")]
    PinLost,
    /// The connection was closed by this process.
    #[error("the bus connection is closed")]
    Closed,
}

impl Error {
    pub(crate) fn client(operation: &'static str) -> impl FnOnce(Source) -> Self {
        move |source| Self::Client { operation, source }
    }
}

/// What it means that the client took no message: where it cannot send any more, it is at its end.
pub(crate) fn sending(operation: &'static str) -> impl FnOnce(async_nats::PublishError) -> Error {
    move |error| match error.kind() {
        async_nats::PublishErrorKind::Send => Error::Closed,
        _ => Error::client(operation)(error.into()),
    }
}

/// Why sealed spans could not be appended to the timeline (LED-12).
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The timeline ends before the entry that should precede: it lost its tail. Publish again from `last + 1`.
    #[error("timeline ends at {last}, before what should precede")]
    Behind {
        /// The last message that the timeline holds.
        last: u64,
    },
    /// The timeline already holds messages at these places: someone published them before.
    #[error("timeline already ends at {last}")]
    Stale {
        /// The last message that the timeline holds.
        last: u64,
    },
    /// The bus failed; entries from the first on may or may not be there.
    #[error("timeline could not be appended to")]
    Bus(#[from] Error),
}

/// Why a signed head was not published (LED-8).
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The newest head of the tenant is another than the one that it was to follow.
    #[error("another signed head is the newest")]
    Stale,
    /// The bus failed; the head may or may not be there.
    #[error("signed head could not be published")]
    Bus(#[from] Error),
}
