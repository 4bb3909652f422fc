//! highwater
#![allow(dead_code, unused_imports)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod alert;
mod clock;
mod event;
pub mod export;
mod front;
mod instrument;
mod name;
mod registry;
pub mod sample;
pub mod semconv;
mod sync;
mod transport;

pub use instrument::*;
pub use name::{Labels, Unit, UnknownUnit};
mod engine;
mod env;
