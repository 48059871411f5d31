//! The threads that runs take place on, and the queue in front of them.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    engine::Engine,
    instance::WASM_STACK_BYTES,
    run::{FailureCode, Outcome, Run},
};

/// Room for the code's stack and as much again for the host functions that it calls.
const THREAD_STACK_BYTES: usize = 2 * WASM_STACK_BYTES;

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the compiled engine is kept; created with mode 700 if need be, and shared with other processes of this user.
    pub cache_dir: PathBuf,
    /// How many runs go on at the same time, each on a thread of its own; at least 1.
    pub instances: usize,
    /// How many runs wait for a free instance before [`Sandbox::run`] itself waits; at least 1.
    pub queue: usize,
    /// The largest linear memory that any run may have.
    pub memory_bytes_max: usize,
}

/// Why a sandbox cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gave no thread.
    #[error("a thread of the sandbox cannot be started")]
    Thread(#[source] io::Error),
    /// The JavaScript engine can be neither loaded nor compiled.
    #[error("the JavaScript engine cannot be loaded: {0}")]
    Engine(String),
    /// All threads are gone.
    #[error("the sandbox is closed")]
    Closed,
}

/// Runs untrusted code. Clones share one pool, which ends with the last of them.
#[derive(Clone)]
pub struct Sandbox {
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

enum Job {
    Ready(oneshot::Sender<Result<(), Error>>),
    Run(Box<Run>, oneshot::Sender<Outcome>),
}

struct Shared {
    config: Config,
    jobs: Mutex<mpsc::Receiver<Job>>,
    engine: OnceLock<Result<Engine, String>>,
}

impl Sandbox {
    /// Starts the pool and returns at once; the engine is loaded (or compiled, where the cache is cold) meanwhile.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(config: Config) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(config.queue.max(1));
        let instances = config.instances.max(1);
        let shared = Arc::new(Shared {
            config,
            jobs: Mutex::new(receiver),
            engine: OnceLock::new(),
        });
        for index in 0..instances {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("sandbox-{index}"))
                .stack_size(THREAD_STACK_BYTES)
                .spawn(move || shared.work())
                .map_err(Error::Thread)?;
        }
        Ok(Self { jobs: sender })
    }

    /// Waits until the engine is loaded.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn ready(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(Job::Ready(answer))
            .await
            .map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// Runs one function, as soon as an instance is free.
    ///
    /// A run that has begun ends at its own deadline, also when this future is dropped; one that has not begins no more.
    pub async fn run(&self, run: Run) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let closed = || Outcome::failed(FailureCode::Unavailable, "the sandbox is closed");
        match self.jobs.send(Job::Run(Box::new(run), answer)).await {
            Ok(()) => answered.await.unwrap_or_else(|_| closed()),
            Err(_) => closed(),
        }
    }
}

impl Shared {
    fn work(&self) {
        // The first thread loads the engine, the others wait for it here.
        let engine = self.engine.get_or_init(|| {
            Engine::load(&self.config).inspect_err(|reason| {
                tracing::error!(reason, "the sandbox engine cannot be loaded")
            })
        });
        while let Some(job) = self.next() {
            match job {
                Job::Ready(answer) => {
                    let ready = engine
                        .as_ref()
                        .map(|_| ())
                        .map_err(|reason| Error::Engine(reason.clone()));
                    // Nobody waits any more: nothing to do.
                    let _ = answer.send(ready);
                }
                Job::Run(_, answer) if answer.is_closed() => {}
                Job::Run(run, answer) => {
                    let mut answer = Some(answer);
                    let mut say = |outcome| drop(answer.take().map(|answer| answer.send(outcome)));
                    match engine {
                        Ok(engine) => {
                            // A thread that dies takes its place in the pool with it.
                            let ran = AssertUnwindSafe(|| engine.run(&run, &mut say));
                            if catch_unwind(ran).is_err() {
                                tracing::error!("a run of the sandbox panicked");
                                say(Outcome::failed(FailureCode::Crashed, "the sandbox failed"));
                            }
                        }
                        Err(reason) => say(Outcome::failed(FailureCode::Unavailable, reason)),
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv()
    }
}
