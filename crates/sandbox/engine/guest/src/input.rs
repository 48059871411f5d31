//! What the host wrote for this run.

use std::cell::RefCell;

const CLOCK: usize = 8;
const SEED: usize = 32;

#[derive(Default)]
pub(crate) struct Input {
    block: Vec<u8>,
    texts: [usize; 5],
    pub(crate) output_max: usize,
}

thread_local! {
    static INPUT: RefCell<Input> = RefCell::default();
}

pub(crate) fn prepare(texts: [usize; 5], output_max: usize) -> *mut u8 {
    let length = CLOCK + SEED + texts.iter().sum::<usize>() + texts.len();
    INPUT.with_borrow_mut(|input| {
        *input = Input {
            block: vec![0; length],
            texts,
            output_max,
        };
        input.block.as_mut_ptr()
    })
}

pub(crate) fn clear() {
    INPUT.take();
}

pub(crate) fn with<R>(read: impl FnOnce(&Input) -> R) -> R {
    INPUT.with_borrow(read)
}

impl Input {
    /// Microseconds since 1970; zero while the snapshot is taken.
    pub(crate) fn clock(&self) -> i64 {
        self.block
            .first_chunk()
            .map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    pub(crate) fn seed(&self) -> [u8; SEED] {
        self.block[CLOCK..CLOCK + SEED]
            .try_into()
            .expect("32 bytes")
    }

    pub(crate) fn code(&self) -> &[u8] {
        self.text(0)
    }

    pub(crate) fn input(&self) -> &[u8] {
        self.text(1)
    }

    pub(crate) fn span(&self) -> &[u8] {
        self.text(2)
    }

    pub(crate) fn user(&self) -> &str {
        std::str::from_utf8(self.text(3)).expect("the host writes UTF-8")
    }

    pub(crate) fn tenant(&self) -> &str {
        std::str::from_utf8(self.text(4)).expect("the host writes UTF-8")
    }

    fn text(&self, index: usize) -> &[u8] {
        let start = CLOCK + SEED + self.texts[..index].iter().sum::<usize>() + index;
        &self.block[start..start + self.texts[index]]
    }
}
