//! What isolation costs: a call in a fresh instance, with all that the sandbox does around it, beside the same call in
//! one instance of the same engine that is used again and again. Prints one line of JSON per measure.
#![expect(clippy::print_stdout, reason = "the lines are the result")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use logline_sandbox::{Config, Language, Limits, Run, Sandbox};
use logline_span::{Json, Timestamp};
use wasmtime::{Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

const ROUNDS: usize = 20;
const CALLS: usize = 250;
/// The issue's bound on what isolation may add.
const OVER_ENGINE_US_MAX: f64 = 80.0;

const CODE: &str = "export async function main(ctx) {
  const { span, input } = ctx;
  if (span.entity_type !== 'execution' || span.status !== 'complete') return null;
  const slow = span.duration_ms > input.limit_ms;
  const labels = Object.keys(span.metadata).filter((key) => key.startsWith('label'));
  const parts = labels.map((key) => `${key}=${span.metadata[key]}`);
  const total = span.output.items.reduce((sum, item) => sum + item.price * item.count, 0);
  ctx.log('seen', span.id, parts.length);
  return { span_id: span.id, slow, total, labels: parts.join(','), at: ctx.now(), key: ctx.uuid() };
}";

fn span() -> Result<Json> {
    let items =
        (0..12).map(|n| format!(r#"{{"count":{n},"name":"item number {n}","price":{n}.25}}"#));
    let text = format!(
        r#"{{"at":"2026-01-01T00:00:00.000000Z","did":"executed","duration_ms":12001,"entity_type":"execution",
        "id":"01890a5d-ac96-774b-bcce-b302099a8057","metadata":{{"label_a":"one","label_b":"two","other":"{}"}},
        "output":{{"items":[{}]}},"owner_id":"ana","status":"complete","tenant_id":"acme","this":"run_code","who":"edge:run_code"}}"#,
        "x".repeat(100),
        items.collect::<Vec<_>>().join(","),
    );
    Json::parse(text.as_bytes()).context("the span is JSON")
}

fn run(span: &Json) -> Result<Run> {
    Ok(Run {
        code: CODE.into(),
        language: Language::JavaScript,
        input: Json::parse(br#"{"limit_ms":10000}"#)?,
        span: span.clone(),
        now: Timestamp::from_micros(1_700_000_000_000_000),
        seed: [7; 32],
        user: "ana".to_owned(),
        tenant: "acme".to_owned(),
        limits: Limits::STANDARD,
    })
}

/// One instance, loaded once, then called again and again: no limits, no isolation, no threads.
struct Reused {
    store: Store<usize>,
    memory: Memory,
    prepare: TypedFunc<(u32, u32, u32, u32, u32, u32), u32>,
    call: TypedFunc<(), i32>,
    block: Vec<u8>,
    lengths: [u32; 5],
}

impl Reused {
    fn new(run: &Run) -> Result<Self> {
        let engine = Engine::new(wasmtime::Config::new().cranelift_nan_canonicalization(true))?;
        let wasm = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/engine.wasm"))?;
        let module = Module::new(&engine, wasm)?;
        let mut linker = Linker::<usize>::new(&engine);
        linker.func_wrap(
            "logline",
            "emit",
            |mut caller: wasmtime::Caller<'_, usize>, _: u32, _: u32, length: u32| {
                *caller.data_mut() += length as usize;
            },
        )?;
        linker.define_unknown_imports_as_traps(&module)?;
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module)?;
        let texts = [
            &*run.code,
            run.input.as_str(),
            run.span.as_str(),
            &run.user,
            &run.tenant,
        ];
        let mut block = [&run.now.as_micros().to_le_bytes()[..], &run.seed].concat();
        for text in texts {
            block.extend_from_slice(text.as_bytes());
            block.push(0);
        }
        let mut lengths = [0; 5];
        for (length, text) in lengths.iter_mut().zip(texts) {
            *length = u32::try_from(text.len())?;
        }
        let mut reused = Self::of(store, &instance, block, lengths)?;
        reused.prepare()?;
        for step in ["compile", "load"] {
            let step = instance.get_typed_func::<(), i32>(&mut reused.store, step)?;
            let status = step.call(&mut reused.store, ())?;
            ensure!(status == 0, "the function does not load: {status}");
        }
        Ok(reused)
    }

    fn of(
        mut store: Store<usize>,
        instance: &Instance,
        block: Vec<u8>,
        lengths: [u32; 5],
    ) -> Result<Self> {
        let memory = instance
            .get_memory(&mut store, "memory")
            .context("the engine has a memory")?;
        let prepare = instance.get_typed_func(&mut store, "prepare")?;
        let call = instance.get_typed_func(&mut store, "call")?;
        Ok(Self {
            store,
            memory,
            prepare,
            call,
            block,
            lengths,
        })
    }

    fn prepare(&mut self) -> Result<()> {
        let [code, input, span, user, tenant] = self.lengths;
        let at = self.prepare.call(
            &mut self.store,
            (code, input, span, user, tenant, 128 << 10),
        )?;
        self.memory
            .write(&mut self.store, at as usize, &self.block)?;
        Ok(())
    }

    fn call(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.prepare()?;
        let status = self.call.call(&mut self.store, ())?;
        let took = started.elapsed();
        ensure!(status == 0 && *self.store.data() > 0, "the function fails");
        Ok(took)
    }
}

fn micros(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let index = (times.len() as f64 * quantile) as usize;
    times
        .get(index.min(times.len().saturating_sub(1)))
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

fn line(measure: &str, limit: f64, ours: f64) {
    let ratio = ours / limit;
    println!(
        r#"{{"measure":"{measure}","limit":{limit:.1},"ours":{ours:.1},"ratio":{ratio:.2},"unit":"us"}}"#
    );
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine");
    let sandbox = Sandbox::new(Config {
        cache_dir,
        instances: 1,
        queue: 1,
        memory_bytes_max: 64 << 20,
    })?;
    runtime.block_on(sandbox.ready())?;
    let run = run(&span()?)?;
    let mut engine = Reused::new(&run)?;

    let (mut itself, mut isolated, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..CALLS {
            itself.push(engine.call()?);
        }
        for _ in 0..CALLS {
            let run = run.clone();
            let started = Instant::now();
            let outcome = runtime.block_on(sandbox.run(run));
            isolated.push(started.elapsed());
            inside.push(outcome.wall);
            ensure!(outcome.result.is_ok(), "the function fails");
        }
    }
    let limit = micros(&mut itself, 0.5);
    let ours = micros(&mut isolated, 0.5);
    line(
        "function call: fresh instance / one reused instance of the engine, p50",
        limit,
        ours,
    );
    line(
        "function call: same, without the thread hop, p50",
        limit,
        micros(&mut inside, 0.5),
    );
    line(
        "function call: same, p99",
        micros(&mut itself, 0.99),
        micros(&mut isolated, 0.99),
    );
    line(
        "function call: isolation over the engine itself, p50",
        OVER_ENGINE_US_MAX,
        ours - limit,
    );
    Ok(())
}
