//! The functions that JavaScript cannot have from the engine: the run's clock and randomness, the host's hashes.

use std::cell::Cell;

use rquickjs::{Ctx, Exception, Function, Object, Result, TypedArray};

use crate::input;

mod host {
    #[link(wasm_import_module = "logline")]
    unsafe extern "C" {
        pub(super) fn emit(kind: u32, text: *const u8, length: usize);
        pub(super) fn blake3(data: *const u8, length: usize, hash: *mut u8);
        pub(super) fn verify(
            signature: *const u8,
            message: *const u8,
            length: usize,
            key: *const u8,
        ) -> u32;
    }
}

/// What a text is that goes to the host.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Output = 0,
    Message = 1,
    Stack = 2,
    Log = 3,
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// While the snapshot is taken there is no host to talk to.
pub(crate) fn silence(silent: bool) {
    SILENT.set(silent);
}

pub(crate) fn emit(kind: Kind, text: &[u8]) {
    if SILENT.get() {
        return;
    }
    unsafe { host::emit(kind as u32, text.as_ptr(), text.len()) }
}

/// The engine's only clock, microseconds since 1970. Defined here, so that the module does not import it.
#[unsafe(no_mangle)]
pub extern "C" fn __rquickjs_host_now_us() -> f64 {
    input::with(|input| input.clock() as f64)
}

fn now() -> f64 {
    input::with(|input| input.clock().div_euclid(1000) as f64)
}

thread_local! {
    static STATE: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
}

/// Starts the generator over. Four zero words would stay zero for ever, hence the constant.
pub(crate) fn seed(bytes: [u8; 32]) {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
    }
    STATE.set(if words == [0; 4] {
        [0x9e37_79b9_7f4a_7c15, 1, 2, 3]
    } else {
        words
    });
}

/// xoshiro256++ 1.0 of Blackman and Vigna.
fn next() -> u64 {
    let mut s = STATE.get();
    let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
    let t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3].rotate_left(45);
    STATE.set(s);
    result
}

fn random() -> f64 {
    (next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A UUID of version 4 by form; its bits come from the seed.
fn uuid() -> String {
    let high = next() & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = next() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The bytes of hex text, also as `ed25519:…` and `blake3:…`; none where it is not hex, which verifies nothing.
fn unhex(text: &str) -> Vec<u8> {
    let text = text
        .strip_prefix("ed25519:")
        .or_else(|| text.strip_prefix("blake3:"))
        .unwrap_or(text);
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<_>>()
        .unwrap_or_default()
}

fn view<'a>(ctx: &Ctx<'_>, bytes: &'a TypedArray<'_, u8>) -> Result<&'a [u8]> {
    // Nothing runs between here and the use of the bytes that could detach or resize the buffer.
    unsafe { bytes.as_bytes() }.ok_or_else(|| Exception::throw_type(ctx, "the buffer is detached"))
}

fn blake3<'js>(ctx: Ctx<'js>, data: TypedArray<'js, u8>) -> Result<TypedArray<'js, u8>> {
    let data = view(&ctx, &data)?;
    let mut hash = [0; 32];
    unsafe { host::blake3(data.as_ptr(), data.len(), hash.as_mut_ptr()) };
    TypedArray::new_copy(ctx, hash)
}

fn verify<'js>(
    ctx: Ctx<'js>,
    signature: TypedArray<'js, u8>,
    message: TypedArray<'js, u8>,
    key: TypedArray<'js, u8>,
) -> Result<bool> {
    let (signature, message, key) = (
        view(&ctx, &signature)?,
        view(&ctx, &message)?,
        view(&ctx, &key)?,
    );
    if signature.len() != 64 || key.len() != 32 {
        return Ok(false);
    }
    Ok(unsafe {
        host::verify(
            signature.as_ptr(),
            message.as_ptr(),
            message.len(),
            key.as_ptr(),
        )
    } == 1)
}

pub(crate) fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let native = Object::new(ctx.clone())?;
    native.set("now", Function::new(ctx.clone(), now)?)?;
    native.set(
        "random",
        Function::new(ctx.clone(), random)?.with_name("random")?,
    )?;
    native.set("uuid", Function::new(ctx.clone(), uuid)?)?;
    native.set(
        "log",
        Function::new(ctx.clone(), |text: String| emit(Kind::Log, text.as_bytes()))?,
    )?;
    native.set(
        "encode",
        Function::new(ctx.clone(), |ctx, text: String| {
            TypedArray::<u8>::new_copy(ctx, text)
        })?,
    )?;
    native.set(
        "unhex",
        Function::new(ctx.clone(), |ctx, text: String| {
            TypedArray::<u8>::new_copy(ctx, unhex(&text))
        })?,
    )?;
    native.set(
        "hex",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, data: TypedArray<'js, u8>| {
            view(&ctx, &data).map(hex)
        })?,
    )?;
    native.set("blake3", Function::new(ctx.clone(), blake3)?)?;
    native.set("verify", Function::new(ctx.clone(), verify)?)?;
    Ok(native)
}
