//! The crate's own files over loom's atomics. Without `--cfg loom` there is nothing here.
#![cfg(all(test, loom))]
#![allow(dead_code, unused_imports)]

#[path = "../../../src/clock/mod.rs"]
mod clock;
#[path = "../../../src/sync.rs"]
mod sync;

mod instrument;
