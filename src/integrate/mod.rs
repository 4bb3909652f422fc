//! Other people's crates, measured: one line each, behind a feature each.
//!
//! Each sees nothing of highwater but what any user sees: instruments, samplers, watches.
//!
//! | for | feature | what it measures |
//! |---|---|---|
//! | a pool of any kind | | [`pool`] |
//! | HTTP servers: axum, tonic, hyper | `tower` | `http.server.*` |

mod lazy;
pub mod pool;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
