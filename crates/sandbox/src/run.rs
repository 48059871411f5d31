//! What goes into a run and what comes out of it.

use std::{fmt, sync::Arc, time::Duration};

use logline_span::{Json, Timestamp};

/// The language that a function is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// An ES2023 module, or a plain script, which defines `main`.
    JavaScript,
}

/// One call of one function. All that the code can know of the world is here.
#[derive(Clone)]
pub struct Run {
    /// The source text.
    pub code: Arc<str>,
    /// What the source is written in.
    pub language: Language,
    /// `ctx.input`.
    pub input: Json,
    /// `ctx.span`: the function itself.
    pub span: Json,
    /// `ctx.now()` and `Date`, which stand still during the run.
    pub now: Timestamp,
    /// Where `ctx.random()`, `ctx.uuid()` and `Math.random()` start from.
    pub seed: [u8; 32],
    /// `ctx.env.APP_USER_ID`.
    pub user: String,
    /// `ctx.env.APP_TENANT_ID`.
    pub tenant: String,
    /// When to stop it.
    pub limits: Limits,
}

/// Shows neither code nor data: both are private content.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("language", &self.language)
            .field("now", &self.now)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The bounds of one run (BOX-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Compiling and running together; waiting for a free instance does not count.
    pub wall: Duration,
    /// Linear memory, the engine's own 1.5 MiB included. The sandbox's own cap holds where it is lower.
    pub memory_bytes: usize,
    /// JSON text of the returned value.
    pub output_bytes: usize,
    /// All lines of `ctx.log` together; what exceeds it is dropped, and the last line says so.
    pub log_bytes: usize,
    /// Number of lines of `ctx.log`.
    pub log_lines: usize,
}

impl Limits {
    /// The product's bounds, with the 10 s that a function has by default.
    pub const STANDARD: Self = Self {
        wall: Duration::from_secs(10),
        memory_bytes: 64 << 20,
        output_bytes: 128 << 10,
        log_bytes: 16 << 10,
        log_lines: 200,
    };
}

/// How a run ended.
pub struct Outcome {
    /// What `main` returned (`null` for `undefined`), or why there is nothing.
    pub result: Result<Json, Failure>,
    /// What `ctx.log` was given, of failed runs too.
    pub logs: Vec<String>,
    /// How long the run took.
    pub wall: Duration,
    /// How far linear memory had grown at the end.
    pub memory_bytes: usize,
}

impl Outcome {
    /// A run that did not take place.
    pub(crate) fn failed(code: FailureCode, message: &str) -> Self {
        Self {
            result: Err(Failure {
                code,
                message: message.to_owned(),
                stack: None,
            }),
            logs: Vec::new(),
            wall: Duration::ZERO,
            memory_bytes: 0,
        }
    }
}

/// Shows how it ended, never what the code said.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field(
                "failure",
                &self.result.as_ref().err().map(|failure| failure.code),
            )
            .field("log_lines", &self.logs.len())
            .field("wall", &self.wall)
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

/// Why a run has no result.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind, for machines.
    pub code: FailureCode,
    /// A sentence, or what the code threw. May hold private content; at most 2 KiB.
    pub message: String,
    /// Where in the code it was thrown, if it was. May hold private content; at most 4 KiB.
    pub stack: Option<String>,
}

/// Shows the code alone: a message may hold private content.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// The kinds of failure, as they appear in `error.code` of an `execution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// It ran longer than it may.
    Timeout,
    /// It asked for more memory than it may have.
    Memory,
    /// It recursed too deeply.
    Stack,
    /// The returned value's JSON is too long.
    OutputTooLarge,
    /// The returned value is not JSON as spans hold it (SPAN-2).
    InvalidOutput,
    /// The code threw.
    Exception,
    /// The source does not parse.
    Syntax,
    /// The source defines no function `main`.
    NoMain,
    /// `main` awaits a promise that nothing can settle any more.
    NeverSettled,
    /// The engine itself failed on this code.
    Crashed,
    /// The sandbox could not start, or was shut down. Not the code's fault: the run may be tried again.
    Unavailable,
}

impl FailureCode {
    /// The code in spans and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::OutputTooLarge => "output_too_large",
            Self::InvalidOutput => "invalid_output",
            Self::Exception => "exception",
            Self::Syntax => "syntax",
            Self::NoMain => "no_main",
            Self::NeverSettled => "never_settled",
            Self::Crashed => "crashed",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
