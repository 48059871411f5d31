//! Debug builds alone: a test names a step of the projector, and the process stops itself there (LED-12, LED-13).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use logline_projector::Projector;

/// Names the step; see [`logline_projector::Step::name`].
const STOP_AT: &str = "LOGLINE_STOP_AT";

/// The projector, stopped by `SIGSTOP` the first time that it comes to the step which the environment names.
pub(crate) fn halting(projector: Projector) -> Projector {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is for tests, and no part of the configuration"
    )]
    let wanted = std::env::var(STOP_AT);
    let Ok(wanted) = wanted else {
        return projector;
    };
    let was_there = AtomicBool::new(false);
    projector.observed(Arc::new(move |step| {
        if step.name() == wanted
            && !was_there.swap(true, Ordering::Relaxed)
            && let Err(error) = logline_stack::freeze_this_process()
        {
            tracing::error!(%error, "the process could not stop itself");
        }
    }))
}
