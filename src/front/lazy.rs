//! A series that exists once it has something to say.

use super::InstrumentBuilder;
use crate::sync::{OnceCell, once};

/// Built at its first use; a load afterwards.
pub(crate) struct Lazy<H> {
    built: OnceCell<H>,
    builder: InstrumentBuilder<H>,
}

impl<H> From<InstrumentBuilder<H>> for Lazy<H> {
    fn from(builder: InstrumentBuilder<H>) -> Self {
        Self { built: OnceCell::new(), builder }
    }
}

impl<H> Lazy<H> {
    pub(crate) fn get(&self) -> &H {
        once(&self.built, || self.builder.clone().build())
    }
}
