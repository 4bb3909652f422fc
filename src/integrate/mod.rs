//! Other people's crates, measured: one line each, behind a feature each.
//!
//! Each sees nothing of highwater but what any user sees: instruments, samplers, watches.
//!
//! | for | feature | what it measures |
//! |---|---|---|
//! | a pool of any kind | | [`pool`] |
//! | a tokio runtime | `tokio` | [`highwater.tokio.*`](tokio), and whether it stands still |
//! | HTTP servers: axum, tonic, hyper | `tower` | [`http.server.*`](tower) |
//! | libraries with the `opentelemetry` API | `otel-api-0-33` | [their instruments](otel) |
//! | `tracing` | `tracing` | [spans](tracing), and alerts as events |

mod lazy;
#[cfg(feature = "otel-api-0-33")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel-api-0-33")))]
pub mod otel;
pub mod pool;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;
