//! Other people's crates, measured: one line each, behind a feature each.
//!
//! Each sees nothing of highwater but what any user sees: instruments, samplers, watches.
//!
//! | for | feature | what it measures |
//! |---|---|---|
//! | a pool of any kind | | [`pool`] |

pub mod pool;
