//! Compiling a module, calling its `main`, and telling how that ended.

use std::cell::RefCell;

use rquickjs::{
    Context, Ctx, Error, Exception, Function, JsLifetime, Module, Object, Persistent, Promise,
    Result, Runtime, Value,
    loader::{ImportAttributes, Loader, Resolver},
    module::{Declared, Evaluated},
    promise::PromiseState,
};

use crate::{
    input,
    native::{self, Kind, emit},
};

/// The host keeps 16 times as much stack for the engine, which recurses natively.
const STACK_BYTES: usize = 256 << 10;
/// Reference counting frees nearly everything at once; most runs end before cycles are worth looking for.
const GC_THRESHOLD_BYTES: usize = 4 << 20;
const WARM: &[u8] = include_bytes!("warm.js");
const MODULE: &str = "function.js";
const PRELUDE: &str = "logline-prelude.js";
/// The name under which `main` is exported whether or not the source exports it.
const ENTRY: &str = "$main";

/// How a call ended. The numbers are known to the host.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Status {
    Done = 0,
    Exception = 1,
    Syntax = 2,
    NoMain = 3,
    NeverSettled = 4,
    InvalidOutput = 5,
    OutputTooLarge = 6,
    Stack = 7,
    Memory = 8,
}

/// A status with the value that was thrown, if one was.
struct Failed<'js>(Status, Option<Value<'js>>);

type Outcome<'js> = std::result::Result<(), Failed<'js>>;

struct Compiled<'js>(Module<'js, Declared>);

// SAFETY: the one lifetime of the type is the context's.
unsafe impl<'js> JsLifetime<'js> for Compiled<'js> {
    type Changed<'to> = Compiled<'to>;
}

pub(crate) struct Engine {
    context: Context,
    invoke: Persistent<Function<'static>>,
    describe: Persistent<Function<'static>>,
    compiled: RefCell<Option<Persistent<Compiled<'static>>>>,
    main: RefCell<Option<Persistent<Function<'static>>>>,
    // After everything that lives in it.
    runtime: Runtime,
}

impl Engine {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        runtime.set_max_stack_size(STACK_BYTES);
        runtime.set_gc_threshold(GC_THRESHOLD_BYTES);
        runtime.set_loader(NoModules, NoModules);
        let context = Context::full(&runtime).expect("a context");
        let (invoke, describe) = context.with(|ctx| {
            let mut options = rquickjs::context::EvalOptions::default();
            options.filename = Some(PRELUDE.to_owned());
            let prelude: Function = ctx
                .eval_with_options(include_str!("prelude.js"), options)
                .expect("the prelude");
            let bridge: Object = native::object(&ctx)
                .and_then(|native| prelude.call((native,)))
                .expect("the bridge");
            let function =
                |name| Persistent::save(&ctx, bridge.get::<_, Function>(name).expect("a function"));
            (function("invoke"), function("describe"))
        });
        Self {
            context,
            invoke,
            describe,
            compiled: RefCell::new(None),
            main: RefCell::new(None),
            runtime,
        }
    }

    /// Uses the engine once and cleans up, so that no run is the first.
    pub(crate) fn warm(&self) -> Status {
        native::silence(true);
        let block = input::prepare([WARM.len(), 2, 2, 1, 1], 1 << 20);
        let texts = [&[0; 40], WARM, b"\0{}\0{}\0u\0t\0"].concat();
        unsafe { block.copy_from_nonoverlapping(texts.as_ptr(), texts.len()) };
        assert!(
            self.compile() == Status::Done
                && self.load() == Status::Done
                && self.call() == Status::Done,
            "the warming function fails"
        );
        self.main.replace(None);
        input::clear();
        native::silence(false);
        self.runtime.run_gc();
        Status::Done
    }

    /// Depends on the source alone and runs nothing of it: the host keeps what this leaves in memory.
    pub(crate) fn compile(&self) -> Status {
        self.context.with(|ctx| {
            let outcome = compile(&ctx).map(|module| {
                self.compiled
                    .replace(Some(Persistent::save(&ctx, Compiled(module))));
            });
            self.report(&ctx, outcome)
        })
    }

    pub(crate) fn load(&self) -> Status {
        native::seed(input::with(input::Input::seed));
        self.context.with(|ctx| {
            let outcome = self.evaluate(&ctx);
            self.report(&ctx, outcome)
        })
    }

    pub(crate) fn call(&self) -> Status {
        self.context.with(|ctx| {
            let outcome = self.invoke(&ctx);
            self.report(&ctx, outcome)
        })
    }

    fn evaluate<'js>(&self, ctx: &Ctx<'js>) -> Outcome<'js> {
        let compiled = self.compiled.take().ok_or(Failed(Status::NoMain, None))?;
        let Compiled(module) = compiled.restore(ctx).map_err(|error| thrown(ctx, error))?;
        let (module, promise) = module.eval().map_err(|error| thrown(ctx, error))?;
        settle(ctx, &promise)?;
        let main = main_of(&module).ok_or(Failed(Status::NoMain, None))?;
        self.main.replace(Some(Persistent::save(ctx, main)));
        Ok(())
    }

    fn invoke<'js>(&self, ctx: &Ctx<'js>) -> Outcome<'js> {
        let result = (|| -> Result<Promise<'js>> {
            let main = self
                .main
                .borrow()
                .clone()
                .ok_or(Error::Unknown)?
                .restore(ctx)?;
            let (value, span, user, tenant) = input::with(|input| -> Result<_> {
                let value = ctx.json_parse(input.input())?;
                Ok((
                    value,
                    ctx.json_parse(input.span())?,
                    input.user().to_owned(),
                    input.tenant().to_owned(),
                ))
            })?;
            self.invoke
                .clone()
                .restore(ctx)?
                .call((main, value, span, user, tenant))
        })();
        let promise = result.map_err(|error| thrown(ctx, error))?;
        let value = settle(ctx, &promise)?;
        output(ctx, value)
    }

    /// Tells the host about a failure and gives the status.
    fn report<'js>(&self, ctx: &Ctx<'js>, outcome: Outcome<'js>) -> Status {
        let Err(Failed(status, thrown)) = outcome else {
            return Status::Done;
        };
        let Some(thrown) = thrown else {
            return status;
        };
        let known = self
            .describe
            .clone()
            .restore(ctx)
            .and_then(|describe| describe.call::<_, Object>((thrown,)));
        let Ok(known) = known else {
            ctx.catch();
            return status;
        };
        let text = |key: &str| known.get::<_, String>(key).unwrap_or_default();
        emit(Kind::Message, text("text").as_bytes());
        let stack = text("stack");
        let own: Vec<_> = stack
            .lines()
            .filter(|line| !line.contains(PRELUDE))
            .map(str::trim)
            .collect();
        emit(Kind::Stack, own.join("\n").as_bytes());
        match (text("name").as_str(), text("message").as_str()) {
            ("RangeError", "Maximum call stack size exceeded") => Status::Stack,
            ("InternalError", "out of memory") => Status::Memory,
            _ => status,
        }
    }
}

/// Compiles the source with `main` exported once more under a name of ours, so that a plain `function main` is found
/// too. Only where that does not parse is the source compiled as it stands, to see whose fault it was.
fn compile<'js>(ctx: &Ctx<'js>) -> std::result::Result<Module<'js, Declared>, Failed<'js>> {
    let declare = |suffix: &str| {
        let source = input::with(|input| [input.code(), suffix.as_bytes()].concat());
        Module::declare(ctx.clone(), MODULE, source).map_err(|error| thrown(ctx, error))
    };
    match declare(&format!("\nexport{{main as {ENTRY}}}")) {
        Err(failed) if is_syntax_error(&failed) => {}
        declared => return declared,
    }
    declare("").map_err(|failed| {
        if is_syntax_error(&failed) {
            Failed(Status::Syntax, failed.1)
        } else {
            failed
        }
    })
}

fn is_syntax_error(Failed(_, value): &Failed<'_>) -> bool {
    let name = value
        .as_ref()
        .and_then(|value| value.as_object())
        .and_then(|error| error.get::<_, String>("name").ok());
    name.as_deref() == Some("SyntaxError")
}

fn main_of<'js>(module: &Module<'js, Evaluated>) -> Option<Function<'js>> {
    let namespace = module.namespace().ok()?;
    [ENTRY, "main"]
        .into_iter()
        .find_map(|name| namespace.get::<_, Value>(name).ok()?.into_function())
}

/// Runs what the promise waits for.
fn settle<'js>(
    ctx: &Ctx<'js>,
    promise: &Promise<'js>,
) -> std::result::Result<Value<'js>, Failed<'js>> {
    while promise.state() == PromiseState::Pending {
        if !ctx.execute_pending_job() {
            return Err(Failed(Status::NeverSettled, None));
        }
    }
    match promise.result::<Value>() {
        Some(result) => result.map_err(|error| thrown(ctx, error)),
        None => Err(Failed(Status::NeverSettled, None)),
    }
}

fn output<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Outcome<'js> {
    if value.is_undefined() {
        emit(Kind::Output, b"null");
        return Ok(());
    }
    let invalid = |error| Failed(Status::InvalidOutput, thrown(ctx, error).1);
    let Some(json) = ctx.json_stringify(value).map_err(invalid)? else {
        return Err(Failed(Status::InvalidOutput, None));
    };
    let json = json.to_cstring().map_err(invalid)?;
    if json.len() > input::with(|input| input.output_max) {
        return Err(Failed(Status::OutputTooLarge, None));
    }
    emit(Kind::Output, json.as_str().as_bytes());
    Ok(())
}

fn thrown<'js>(ctx: &Ctx<'js>, error: Error) -> Failed<'js> {
    let value = match error {
        Error::Exception => Some(ctx.catch()),
        // Of the engine's wrapper: a text with a zero byte in it, most of all.
        other => Exception::from_message(ctx.clone(), &other.to_string())
            .ok()
            .map(|error| error.into_value()),
    };
    Failed(Status::Exception, value)
}

/// There is no module but the function's own.
#[derive(Clone, Copy)]
struct NoModules;

impl Resolver for NoModules {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        _: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        Err(Exception::throw_reference(
            ctx,
            &format!("cannot import '{name}': the sandbox has no modules"),
        ))
    }
}

impl Loader for NoModules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        Err(Exception::throw_reference(
            ctx,
            &format!("cannot import '{name}': the sandbox has no modules"),
        ))
    }
}
