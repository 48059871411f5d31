//! `wizen IN OUT`: runs `initialize` of a module and writes the module as it is afterwards.

use std::{
    env, fs,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use wasmtime::{Engine, Extern, Instance, Linker, Module, Result, Store, Val, error::format_err};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

struct State {
    store: Store<()>,
    instance: Instance,
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self
            .instance
            .get_global(&mut self.store, name)
            .expect("an exported global");
        match global.get(&mut self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(value) => SnapshotVal::F32(value),
            Val::F64(value) => SnapshotVal::F64(value),
            other => panic!("a global of type {:?}", other.ty(&self.store)),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self
            .instance
            .get_memory(&mut self.store, name)
            .expect("an exported memory");
        contents(memory.data(&self.store));
    }
}

fn main() -> Result<()> {
    let [_, from, to] = &env::args().collect::<Vec<_>>()[..] else {
        return Err(format_err!("usage: wizen IN OUT"));
    };
    let wasm = fs::read(from)?;
    let mut wizer = Wizer::new();
    wizer.init_func("initialize");
    let (context, instrumented) = wizer.instrument(&wasm)?;

    let engine = Engine::default();
    let module = Module::new(&engine, &instrumented)?;
    for import in module.imports() {
        println!("import {}.{}", import.module(), import.name());
    }
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    for start in ["_initialize", "initialize"] {
        if let Some(Extern::Func(function)) = instance.get_export(&mut store, start) {
            function.typed::<(), ()>(&store)?.call(&mut store, ())?;
        }
    }
    let mut state = State { store, instance };
    let snapshot = pin!(wizer.snapshot(&context, &mut state));
    // The state is at hand, so nothing in here ever waits.
    match snapshot.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(bytes) => Ok(fs::write(to, bytes?)?),
        Poll::Pending => Err(format_err!("the snapshot waits for something")),
    }
}
