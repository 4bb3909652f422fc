//! highwater
#![allow(dead_code, unused_imports)]

mod clock;
mod event;
pub mod export;
mod instrument;
mod name;
mod registry;
pub mod sample;
pub mod semconv;
mod sync;
mod transport;

pub use instrument::*;
pub use name::{Labels, Unit, UnknownUnit};
