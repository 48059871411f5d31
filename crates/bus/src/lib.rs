//! logline-bus.
