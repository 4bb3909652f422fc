//! Other people's crates, measured: one line each, behind a feature each.
//!
//! Each sees of highwater what any user sees: instruments, samplers, watches. A driver or a pool of
//! your own is measured with the same parts: [`Highwater::queries`](crate::Highwater::queries) finds a
//! query's timer and rows by its text, [`Query::call`](crate::Query::call) times what begins and ends in
//! different places, [`pool::Pool`] is any pool's meter.
//!
//! | for | feature | what it measures |
//! |---|---|---|
//! | sqlx | `sqlx` | every query, row and failure of a [pool](sqlx), and the pool |
//! | tokio-postgres, also from deadpool-postgres and bb8-postgres | `tokio-postgres` | every query, row and failure of a [client](tokio_postgres) |
//! | diesel | `diesel` | every query and failure of a [connection](diesel) |
//! | rusqlite | `rusqlite` | every statement of a [connection](rusqlite) |
//! | Redis | `redis` | every command and failure of a [connection](redis) |
//! | deadpool, also under `deadpool-postgres` and others | `deadpool` | the [pool](deadpool) |
//! | bb8 | `bb8` | the [pool](bb8) |
//! | r2d2, also diesel's | `r2d2` | the [pool](r2d2) |
//! | a pool of any kind | | the [`pool`] |
//! | a tokio runtime | `tokio` | [`highwater.tokio.*`](tokio), and whether it stands still |
//! | HTTP servers: axum, tonic, hyper | `tower` | [`http.server.*`](tower) |
//! | libraries with the `opentelemetry` API | `otel-api-0-33` | [their instruments](otel) |
//! | `tracing` | `tracing` | [spans](tracing), and alerts as events |
//!
#![doc = include_str!("../../docs/integrations.md")]

#[cfg(feature = "bb8")]
#[cfg_attr(docsrs, doc(cfg(feature = "bb8")))]
pub mod bb8;
#[cfg(feature = "deadpool")]
#[cfg_attr(docsrs, doc(cfg(feature = "deadpool")))]
pub mod deadpool;
#[cfg(feature = "diesel")]
#[cfg_attr(docsrs, doc(cfg(feature = "diesel")))]
pub mod diesel;
#[cfg(feature = "otel-api-0-33")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel-api-0-33")))]
pub mod otel;
pub mod pool;
#[cfg(feature = "r2d2")]
#[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
pub mod r2d2;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
#[cfg(feature = "rusqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "rusqlite")))]
pub mod rusqlite;
mod since;
#[cfg(feature = "sqlx")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlx")))]
pub mod sqlx;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
#[cfg(feature = "tokio-postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-postgres")))]
pub mod tokio_postgres;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;
