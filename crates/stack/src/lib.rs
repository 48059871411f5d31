//! logline-stack.
