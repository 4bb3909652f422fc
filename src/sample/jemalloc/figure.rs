//! Values by jemalloc's own names, resolved once. (`tikv-jemalloc-ctl` has them too, but behind
//! features that would decide how everybody's jemalloc is built.)
#![allow(unsafe_code)]

use tikv_jemalloc_ctl::{Error, raw};

/// A `size_t` among the statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure([usize; 2]);

impl Figure {
    /// A name of two parts that ends with a zero.
    pub(super) fn of(name: &'static [u8]) -> Result<Self, Error> {
        let mut at = [0; 2];
        raw::name_to_mib(name, &mut at)?;
        Ok(Self(at))
    }

    /// As of the last epoch.
    pub(super) fn read(&self) -> Result<usize, Error> {
        // SAFETY: all names given to `of` are documented as `size_t`, which is `usize`, of which any
        // bits are a value: `stats.allocated`, `.active`, `.resident`, `.retained`.
        unsafe { raw::read_mib(&self.0) }
    }
}

/// Whether jemalloc was built and started to profile.
pub(super) fn is_profiling() -> bool {
    // SAFETY: `opt.prof` is documented as a `bool`, and jemalloc writes 0 or 1.
    unsafe { raw::read::<bool>(b"opt.prof\0") }.unwrap_or(false)
}
