//! The JavaScript engine as the sandbox sees it: four calls in, three calls out.
//!
//! In: [`prepare`] takes the texts, [`compile`] and [`load`] make a module of the source, [`call`] calls its `main`.
//! Out: `emit` hands a text to the host, `blake3` and `verify` compute.
//! [`initialize`] runs once, when the snapshot is taken.

mod engine;
mod input;
mod native;

use engine::Status;

thread_local! {
    static ENGINE: std::cell::OnceCell<engine::Engine> = const { std::cell::OnceCell::new() };
}

fn with_engine(act: impl FnOnce(&engine::Engine) -> Status) -> i32 {
    ENGINE.with(|engine| act(engine.get_or_init(engine::Engine::new)) as i32)
}

/// Builds the engine, so that the snapshot holds it ready for use.
#[unsafe(no_mangle)]
pub extern "C" fn initialize() {
    // Room which the engine would otherwise ask for page by page during every run. Untouched pages cost nothing.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
    with_engine(engine::Engine::warm);
}

/// Makes room for the run's input, which the host then writes: clock (i64), seed (32 bytes), then the texts in the
/// order of the arguments, each followed by a zero byte. A compiled module stays over it.
#[unsafe(no_mangle)]
pub extern "C" fn prepare(
    code: usize,
    input: usize,
    span: usize,
    user: usize,
    tenant: usize,
    output_max: usize,
) -> *mut u8 {
    input::prepare([code, input, span, user, tenant], output_max)
}

/// Compiles the module.
#[unsafe(no_mangle)]
pub extern "C" fn compile() -> i32 {
    with_engine(engine::Engine::compile)
}

/// Evaluates the compiled module.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> i32 {
    with_engine(engine::Engine::load)
}

/// Calls `main` of the loaded module and waits for what it returns.
#[unsafe(no_mangle)]
pub extern "C" fn call() -> i32 {
    with_engine(engine::Engine::call)
}
