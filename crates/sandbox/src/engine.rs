//! The JavaScript engine, compiled for this machine and ready to be instantiated.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use wasmtime::{
    Enabled, InstanceAllocationStrategy, Module, PoolingAllocationConfig,
    error::{Context, Result},
};

use crate::{
    cache,
    deadline::Deadlines,
    instance::{Guest, State, WASM_STACK_BYTES, imports},
    run::{Outcome, Run},
    sandbox::Config,
};

/// QuickJS-ng as `engine/build.sh` makes it, already initialised.
const WASM: &[u8] = include_bytes!("../engine/engine.wasm");
/// Its SHA-256, as `sha256sum` prints it.
const WASM_SUM: &str = include_str!("../engine/engine.wasm.sha256");

/// What stays in memory of an instance's pages after a run. The engine dirties about 300 KiB in a small run;
/// with less than that each run would map its pages anew.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;
/// The engine's function table has under 2 000 entries.
const TABLE_ELEMENTS_MAX: usize = 4096;

pub(crate) struct Engine {
    engine: wasmtime::Engine,
    guest: Guest,
    deadlines: Deadlines,
}

impl Engine {
    /// Loads the compiled engine from the cache, or compiles it and puts it there.
    ///
    /// # Errors
    /// A sentence for the log and for whoever waits.
    pub(crate) fn load(config: &Config) -> Result<Self, String> {
        Self::load_inner(config).map_err(|error| format!("{error:#}"))
    }

    fn load_inner(config: &Config) -> Result<Self> {
        let engine = wasmtime::Engine::new(&settings(config))?;
        let module = module(&engine, config)?;
        let mut linker = wasmtime::Linker::<State>::new(&engine);
        imports(&mut linker)?;
        let guest = Guest::new(&linker, &module, config.memory_bytes_max)?;
        let struck = engine.clone();
        let deadlines = Deadlines::start(move || struck.increment_epoch())
            .context("no thread for the deadlines")?;
        Ok(Self {
            engine,
            guest,
            deadlines,
        })
    }

    pub(crate) fn run(&self, run: &Run, answer: impl FnOnce(Outcome)) {
        self.guest.run(&self.engine, &self.deadlines, run, answer);
    }
}

fn settings(config: &Config) -> wasmtime::Config {
    let instances = u32::try_from(config.instances.max(1)).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances)
        .max_memory_size(config.memory_bytes_max)
        .max_core_instance_size(1 << 20)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut settings = wasmtime::Config::new();
    settings
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Unused, but checked against the other.
        .async_stack_size(2 * WASM_STACK_BYTES)
        // Without it the bits of a NaN, and so a run's outcome, would depend on the processor.
        .cranelift_nan_canonicalization(true)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    settings
}

fn module(engine: &wasmtime::Engine, config: &Config) -> Result<Module> {
    let key = key(engine);
    match cache::find(&config.cache_dir, &key) {
        Ok(Some(file)) => match from_cache(engine, file) {
            Ok(module) => return Ok(module),
            Err(error) => tracing::warn!(
                reason = format!("{error:#}"),
                "the cached engine cannot be used"
            ),
        },
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, directory = %config.cache_dir.display(), "the engine's cache cannot be read")
        }
    }
    let started = Instant::now();
    let compiled = Module::new(engine, WASM)?;
    tracing::info!(
        wall_ms = started.elapsed().as_millis(),
        "the sandbox engine is compiled"
    );
    match cache::store(&config.cache_dir, &key, &compiled.serialize()?) {
        // The file's pages are shared and dropped at need, those of the compiler's result are not.
        Ok(file) => from_cache(engine, file),
        Err(error) => {
            tracing::warn!(%error, directory = %config.cache_dir.display(), "the engine's cache cannot be written");
            Ok(compiled)
        }
    }
}

/// Names the engine's bytes, and the compiler with all that it was told.
fn key(engine: &wasmtime::Engine) -> String {
    let mut compiler = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compiler);
    let sum = WASM_SUM.get(..16).unwrap_or(WASM_SUM);
    format!("quickjs-{sum}-{:016x}", compiler.finish())
}

#[expect(
    unsafe_code,
    reason = "compiled code cannot be checked; the cache gives only what this user's processes wrote, whole"
)]
fn from_cache(engine: &wasmtime::Engine, file: std::fs::File) -> Result<Module> {
    // SAFETY: the file was written by `cache::store` from `Module::serialize`: its owner is this user, nobody else may
    // write it or its directory, and its content has the digest that it was stored under.
    unsafe { Module::deserialize_open_file(engine, file) }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_committed_engine_has_the_committed_sum() {
        let sum: String = Sha256::digest(WASM)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(WASM_SUM, format!("{sum}  engine.wasm\n"));
    }

    #[test]
    fn the_engine_imports_three_functions_and_nothing_else() {
        let module = Module::new(&wasmtime::Engine::default(), WASM).unwrap();
        let imports: Vec<_> = module
            .imports()
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        assert_eq!(
            imports,
            ["logline.emit", "logline.blake3", "logline.verify"]
        );
    }
}
