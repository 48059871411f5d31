//! logline-projector.
