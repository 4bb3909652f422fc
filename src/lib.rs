//! highwater
#![allow(dead_code, unused_imports)]

mod clock;
mod event;
mod instrument;
mod name;
mod registry;
pub mod rule;
pub mod sample;
pub mod semconv;
mod sync;
mod window;

pub use event::*;
pub use instrument::*;
pub use name::{Labels, Unit, UnknownUnit};
