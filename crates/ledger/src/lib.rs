//! logline-ledger.
