//! One run: a fresh instance, the calls into it, and what it says to the host.

use std::time::{Duration, Instant};

use logline_span::{Json, Timestamp};
use wasmtime::{
    Caller, Engine, Instance, InstancePre, Linker, Memory, Module, ModuleExport, ResourceLimiter,
    Store, Trap, UpdateDeadline, WasmParams, WasmResults,
    error::{Context, Result, bail, format_err},
};

use crate::{
    deadline::Deadlines,
    delta::{Delta, Deltas},
    run::{Failure, FailureCode, Language, Limits, Outcome, Run},
};

/// The engine's own check stops JavaScript at 256 KiB of its stack, which takes up to this much of the machine's.
pub(crate) const WASM_STACK_BYTES: usize = 4 << 20;
/// Errors become fields of a span: enough to understand them, not enough to fill it.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
const STACK_TEXT_BYTES_MAX: usize = 4 << 10;
/// Stands for no deadline at all, where a caller gives a duration beyond what the clock can express.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
const WASM_PAGE_BYTES: u64 = 64 << 10;
/// The engine's status where all went well.
const DONE: i32 = 0;
/// The engine's status for a source that does not parse.
const SYNTAX: i32 = 2;
const LOG_CUT: &str = "[log cut here: the limit is reached]";

/// The engine's module, resolved as far as it can be before a run.
pub(crate) struct Guest {
    pre: InstancePre<State>,
    memory: ModuleExport,
    prepare: ModuleExport,
    compile: ModuleExport,
    load: ModuleExport,
    call: ModuleExport,
    memory_bytes_max: usize,
    deltas: Deltas,
}

/// What the host knows of a run under way.
pub(crate) struct State {
    limits: Limits,
    memory: Option<Memory>,
    memory_bytes: usize,
    memory_refused: bool,
    timed_out: bool,
    output: Option<Vec<u8>>,
    output_too_large: bool,
    message: Option<String>,
    stack: Option<String>,
    logs: Vec<String>,
    log_bytes: usize,
    log_cut: bool,
}

impl Guest {
    pub(crate) fn new(
        linker: &Linker<State>,
        module: &Module,
        memory_bytes_max: usize,
    ) -> Result<Self> {
        let export = |name: &str| {
            module
                .get_export_index(name)
                .with_context(|| format!("the engine has no `{name}`"))
        };
        Ok(Self {
            pre: linker.instantiate_pre(module)?,
            memory: export("memory")?,
            prepare: export("prepare")?,
            compile: export("compile")?,
            load: export("load")?,
            call: export("call")?,
            memory_bytes_max,
            deltas: Deltas::default(),
        })
    }

    /// Answers before the instance is cleared away: nobody need wait for that but the next run.
    pub(crate) fn run(
        &self,
        engine: &Engine,
        deadlines: &Deadlines,
        run: &Run,
        answer: impl FnOnce(Outcome),
    ) {
        let started = Instant::now();
        let deadline = started
            .checked_add(run.limits.wall)
            .unwrap_or(started + FAR);
        let mut limits = run.limits;
        limits.memory_bytes = limits.memory_bytes.min(self.memory_bytes_max);

        let mut store = Store::new(engine, State::new(limits));
        store.limiter(|state| state);
        // Before the deadline is set: an epoch that moves on in between would be missed otherwise.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut context| {
            if Instant::now() < deadline {
                return Ok(UpdateDeadline::Continue(1));
            }
            context.data_mut().timed_out = true;
            Err(Trap::Interrupt.into())
        });
        let minded = deadlines.set(deadline);
        let ended = match run.language {
            Language::JavaScript => self.attempt(&mut store, run),
        };
        drop(minded);
        let state = std::mem::replace(store.data_mut(), State::new(limits));
        let memory_bytes = state.memory_bytes;
        let (result, logs) = state.conclude(ended);
        answer(Outcome {
            result,
            logs,
            wall: started.elapsed(),
            memory_bytes,
        });
    }

    /// Gives the engine's status, or the trap that ended it.
    fn attempt(&self, store: &mut Store<State>, run: &Run) -> Result<i32> {
        if run.code.contains('\0') {
            // It would end the source for the engine, which reads C strings.
            store.data_mut().message = Some("the source contains U+0000".to_owned());
            return Ok(SYNTAX);
        }
        let instance = self.pre.instantiate(&mut *store)?;
        let memory = instance
            .get_module_export(&mut *store, &self.memory)
            .and_then(wasmtime::Extern::into_memory);
        let memory = memory.context("the engine has no memory")?;
        store.data_mut().memory = Some(memory);

        let mut status = self.compile(store, &instance, memory, &run.code)?;
        if status == DONE {
            let texts = [
                "",
                run.input.as_str(),
                run.span.as_str(),
                &run.user,
                &run.tenant,
            ];
            self.prepare(store, &instance, memory, (run.now, run.seed), texts)?;
            status = self
                .function(store, &instance, &self.load)?
                .call(&mut *store, ())?;
        }
        if status == DONE {
            status = self
                .function(store, &instance, &self.call)?
                .call(&mut *store, ())?;
        }
        Ok(status)
    }

    /// Leaves the instance with the source compiled, by compiling it or by what that left behind before.
    fn compile(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        memory: Memory,
        code: &str,
    ) -> Result<i32> {
        let source = blake3::hash(code.as_bytes());
        if let Some(delta) = self.deltas.get(&source) {
            let missing = delta.memory_bytes.saturating_sub(memory.data_size(&*store));
            if missing > 0 {
                memory.grow(&mut *store, missing as u64 / WASM_PAGE_BYTES)?;
            }
            return if delta.apply(memory.data_mut(&mut *store)) {
                Ok(DONE)
            } else {
                bail!("the delta does not fit")
            };
        }
        let fresh = memory.data(&*store).to_vec();
        let nothing = (Timestamp::from_micros(0), [0; 32]);
        self.prepare(store, instance, memory, nothing, [code, "", "", "", ""])?;
        let status = self
            .function(store, instance, &self.compile)?
            .call(&mut *store, ())?;
        if status == DONE {
            self.deltas
                .keep(source, Delta::between(&fresh, memory.data(&*store)));
        }
        Ok(status)
    }

    fn prepare(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        memory: Memory,
        (now, seed): (Timestamp, [u8; 32]),
        texts: [&str; 5],
    ) -> Result<()> {
        let [code, input, span, user, tenant] = texts.map(|text| u32::try_from(text.len()));
        let output_max = u32::try_from(store.data().limits.output_bytes).unwrap_or(u32::MAX);
        let prepare = self.function(store, instance, &self.prepare)?;
        let at: u32 = prepare.call(
            &mut *store,
            (code?, input?, span?, user?, tenant?, output_max),
        )?;
        let block = memory.data_mut(&mut *store).get_mut(at as usize..);
        write(
            block.context("the engine gives a place outside its memory")?,
            now,
            seed,
            texts,
        )
    }

    fn function<P: WasmParams, R: WasmResults>(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        export: &ModuleExport,
    ) -> Result<wasmtime::TypedFunc<P, R>> {
        let export = instance
            .get_module_export(&mut *store, export)
            .and_then(wasmtime::Extern::into_func);
        export
            .context("the engine lacks a function")?
            .typed(&*store)
    }
}

/// The block that the engine's `prepare` describes.
fn write(block: &mut [u8], now: Timestamp, seed: [u8; 32], texts: [&str; 5]) -> Result<()> {
    let mut rest = block;
    let clock = now.as_micros().to_le_bytes();
    let pieces = [&clock[..], &seed]
        .into_iter()
        .chain(texts.iter().flat_map(|text| [text.as_bytes(), b"\0"]));
    for piece in pieces {
        let (place, after) = rest
            .split_at_mut_checked(piece.len())
            .context("the engine gives too little room")?;
        place.copy_from_slice(piece);
        rest = after;
    }
    Ok(())
}

/// The functions that the engine imports: one way out for texts, and two that compute.
pub(crate) fn imports(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "logline",
        "emit",
        |mut caller: Caller<'_, State>, kind: u32, at: u32, length: u32| {
            let (memory, state) = guest_memory(&mut caller)?;
            state.take(kind, slice(memory, at, length)?)
        },
    )?;
    linker.func_wrap(
        "logline",
        "blake3",
        |mut caller: Caller<'_, State>, at: u32, length: u32, to: u32| {
            let (memory, _) = guest_memory(&mut caller)?;
            let hash = blake3::hash(slice(memory, at, length)?);
            let place = memory
                .get_mut(to as usize..)
                .and_then(|rest| rest.first_chunk_mut());
            *place.context("the engine names a place outside its memory")? = *hash.as_bytes();
            Ok(())
        },
    )?;
    linker.func_wrap(
        "logline",
        "verify",
        |mut caller: Caller<'_, State>, signature: u32, at: u32, length: u32, key: u32| {
            let (memory, _) = guest_memory(&mut caller)?;
            let verified = verify(
                array(memory, key)?,
                slice(memory, at, length)?,
                array(memory, signature)?,
            );
            Ok(u32::from(verified))
        },
    )?;
    Ok(())
}

/// As strict as the product's own checks are.
fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn guest_memory<'a>(caller: &'a mut Caller<'_, State>) -> Result<(&'a mut [u8], &'a mut State)> {
    let memory = caller
        .data()
        .memory
        .context("the engine's memory is not known yet")?;
    Ok(memory.data_and_store_mut(caller))
}

fn slice(memory: &[u8], at: u32, length: u32) -> Result<&[u8]> {
    let from = memory
        .get(at as usize..)
        .and_then(|rest| rest.get(..length as usize));
    from.context("the engine names a place outside its memory")
}

fn array<const N: usize>(memory: &[u8], at: u32) -> Result<&[u8; N]> {
    let from = memory
        .get(at as usize..)
        .and_then(|rest| rest.first_chunk());
    from.context("the engine names a place outside its memory")
}

impl ResourceLimiter for State {
    /// Ends the run at the first refusal, rather than let the code try to live without: how an engine that is out of
    /// memory goes on differs from place to place.
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if desired > self.limits.memory_bytes {
            self.memory_refused = true;
            return Err(format_err!("the run asks for more memory than it may have"));
        }
        self.memory_bytes = desired;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.memory_refused = true;
        Err(error)
    }

    fn table_growing(&mut self, current: usize, _: usize, _: Option<usize>) -> Result<bool> {
        // The table is made once, at its full size.
        Ok(current == 0)
    }
}

impl State {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: None,
            memory_bytes: 0,
            memory_refused: false,
            timed_out: false,
            output: None,
            output_too_large: false,
            message: None,
            stack: None,
            logs: Vec::new(),
            log_bytes: 0,
            log_cut: false,
        }
    }

    fn take(&mut self, kind: u32, text: &[u8]) -> Result<()> {
        match kind {
            0 if text.len() > self.limits.output_bytes => self.output_too_large = true,
            0 => self.output = Some(text.to_vec()),
            1 => self.message = Some(bounded(text, MESSAGE_BYTES_MAX)),
            2 if !text.is_empty() => self.stack = Some(bounded(text, STACK_TEXT_BYTES_MAX)),
            2 => {}
            3 => self.log(text),
            _ => bail!("the engine says something unknown"),
        }
        Ok(())
    }

    fn log(&mut self, line: &[u8]) {
        let left = self.limits.log_bytes - self.log_bytes;
        if self.log_cut || line.len() > left || self.logs.len() >= self.limits.log_lines {
            self.log_cut = true;
            return;
        }
        let line = bounded(line, left);
        self.log_bytes += line.len().min(left);
        self.logs.push(line);
    }

    fn conclude(mut self, ended: Result<i32>) -> (Result<Json, Failure>, Vec<String>) {
        if self.log_cut {
            self.logs.push(LOG_CUT.to_owned());
        }
        let code = match ended {
            Ok(DONE) if self.output_too_large => FailureCode::OutputTooLarge,
            Ok(DONE) => match Json::parse(self.output.as_deref().unwrap_or_default()) {
                Ok(json) => return (Ok(json), self.logs),
                Err(refusal) => {
                    self.message = Some(format!("the returned value cannot be kept: {refusal}"));
                    FailureCode::InvalidOutput
                }
            },
            Ok(status) => failure_code(status),
            Err(_) if self.memory_refused => FailureCode::Memory,
            Err(_) if self.timed_out => FailureCode::Timeout,
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::StackOverflow) => FailureCode::Stack,
                _ => {
                    tracing::warn!(reason = format!("{error:#}"), "the sandbox engine crashed");
                    FailureCode::Crashed
                }
            },
        };
        let message = self
            .message
            .take()
            .unwrap_or_else(|| sentence(code, &self.limits));
        (
            Err(Failure {
                code,
                message,
                stack: self.stack,
            }),
            self.logs,
        )
    }
}

/// The engine's statuses, as `engine/guest` numbers them.
fn failure_code(status: i32) -> FailureCode {
    match status {
        1 => FailureCode::Exception,
        SYNTAX => FailureCode::Syntax,
        3 => FailureCode::NoMain,
        4 => FailureCode::NeverSettled,
        5 => FailureCode::InvalidOutput,
        6 => FailureCode::OutputTooLarge,
        7 => FailureCode::Stack,
        8 => FailureCode::Memory,
        _ => FailureCode::Crashed,
    }
}

/// What there is to say where the code itself said nothing.
fn sentence(code: FailureCode, limits: &Limits) -> String {
    match code {
        FailureCode::Timeout => format!("stopped after {} ms", limits.wall.as_millis()),
        FailureCode::Memory => format!(
            "more than {} bytes of memory are needed",
            limits.memory_bytes
        ),
        FailureCode::Stack => "the recursion is too deep".to_owned(),
        FailureCode::OutputTooLarge => format!(
            "the returned value is longer than {} bytes of JSON",
            limits.output_bytes
        ),
        FailureCode::InvalidOutput => "the returned value has no form as JSON".to_owned(),
        FailureCode::Exception => "the thrown value cannot be shown".to_owned(),
        FailureCode::Syntax => "the source does not parse".to_owned(),
        FailureCode::NoMain => "the source defines no function `main`".to_owned(),
        FailureCode::NeverSettled => "`main` awaits a promise that nothing can settle".to_owned(),
        FailureCode::Crashed => "the engine failed on this code".to_owned(),
        FailureCode::Unavailable => "the sandbox is not available".to_owned(),
    }
}

/// Text as a span can hold it: valid UTF-8 without U+0000, and not longer than `bytes_max` (and an ellipsis).
fn bounded(text: &[u8], bytes_max: usize) -> String {
    let cut = text.get(..bytes_max).unwrap_or(text);
    let mut kept = String::from_utf8_lossy(cut).replace('\0', "\u{fffd}");
    let is_whole = text.len() <= bytes_max && kept.len() <= bytes_max;
    kept.truncate(kept.floor_char_boundary(bytes_max));
    if !is_whole {
        kept.truncate(kept.trim_end_matches('\u{fffd}').len());
        kept.push('…');
    }
    kept
}
