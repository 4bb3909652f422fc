//! Other people's crates, measured: one line each, behind a feature each.
//!
//! Each sees nothing of highwater but what any user sees: instruments, samplers, watches.
//!
//! | for | feature | what it measures |
//! |---|---|---|
//! | sqlx | `sqlx` | every query, row and failure of a [pool](sqlx), and the pool |
//! | rusqlite | `rusqlite` | every statement of a [connection](rusqlite) |
//! | deadpool, also under `deadpool-postgres` and others | `deadpool` | the [pool](deadpool) |
//! | bb8 | `bb8` | the [pool](bb8) |
//! | r2d2, also diesel's | `r2d2` | the [pool](r2d2) |
//! | a pool of any kind | | the [`pool`] |
//! | a tokio runtime | `tokio` | [`highwater.tokio.*`](tokio), and whether it stands still |
//! | HTTP servers: axum, tonic, hyper | `tower` | [`http.server.*`](tower) |
//! | libraries with the `opentelemetry` API | `otel-api-0-33` | [their instruments](otel) |
//! | `tracing` | `tracing` | [spans](tracing), and alerts as events |

#[cfg(feature = "bb8")]
#[cfg_attr(docsrs, doc(cfg(feature = "bb8")))]
pub mod bb8;
#[cfg(feature = "deadpool")]
#[cfg_attr(docsrs, doc(cfg(feature = "deadpool")))]
pub mod deadpool;
#[cfg(feature = "otel-api-0-33")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel-api-0-33")))]
pub mod otel;
pub mod pool;
#[cfg(feature = "r2d2")]
#[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
pub mod r2d2;
#[cfg(feature = "rusqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "rusqlite")))]
pub mod rusqlite;
#[cfg(feature = "sqlx")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlx")))]
pub mod sqlx;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;
