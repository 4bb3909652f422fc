//! Redis: connections that measure every command, blocking ones and those of async code.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name` = `redis`, `db.query.summary`, `error.type`; `db.query.text` if asked for |
//! | `highwater.query.in_flight` (up-down counter, `{call}`) | `db.system.name`, `db.query.summary` |
//!
//! A command is called by its verb (`GET`), never by a key or a value; a pipeline is one call,
//! `PIPELINE`, and one in a transaction `MULTI`.
//!
//! **What it sees.** Every command on this connection and its clones, from when it is sent to its
//! answer: failures by the server's code (`WRONGTYPE`, `OOM`, `ERR`), or by kind (`timeout`, `io`,
//! `connection_dropped`, `client`); in async code those that were dropped before their answer
//! (`cancelled`). Of a pipeline, the first command's failure.
//!
//! **What it does not.** Messages of subscriptions; what a `ConnectionManager` under it does to connect
//! again, other than that it takes time; that an answer is not of the type the caller wanted.
//!
//! A command costs two readings of the clock, and a small allocation (its verb in capitals; in async
//! code the future around the driver's own).

use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
};

use ::redis::{
    Arg, Cmd, ConnectionLike, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio,
};

use crate::{
    front::Queries,
    instrument::{Query, QueryCall},
};

/// A measured connection, in the place of the one it is made of: whatever takes a connection
/// takes it (`Commands`, `AsyncCommands`, `Cmd`, `Pipeline`).
///
/// ```
/// use highwater::{Highwater, integrate};
/// use redis::Commands;
/// # struct Fake;
/// # impl redis::ConnectionLike for Fake {
/// #     fn req_packed_command(&mut self, _: &[u8]) -> redis::RedisResult<redis::Value> { Ok(redis::Value::Int(7)) }
/// #     fn req_packed_commands(&mut self, _: &[u8], _: usize, _: usize) -> redis::RedisResult<Vec<redis::Value>> { Ok(vec![]) }
/// #     fn get_db(&self) -> i64 { 0 }
/// #     fn check_connection(&mut self) -> bool { true }
/// #     fn is_open(&self) -> bool { true }
/// # }
/// # fn connect() -> Fake { Fake }
///
/// let hw = Highwater::builder("doc").start()?;
/// let queries = hw.queries().system("redis").build();                  // one for all connections
/// let connection = connect();
/// let mut connection = integrate::redis::measure(connection, &queries); // the one line
/// let orders: u32 = connection.get("orders")?;                          // `GET`
/// # assert_eq!(orders, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `queries` must be of the system `redis` or `valkey`: of others, texts are SQL.
pub fn measure<C>(connection: C, queries: &Queries) -> Connection<C> {
    Connection { raw: connection, queries: queries.clone() }
}

/// See [`measure`]. Clone it as far as the connection it is made of can be.
#[derive(Clone)]
pub struct Connection<C> {
    raw: C,
    queries: Queries,
}

impl<C> Connection<C> {
    /// The connection it is made of: what is done with it is not measured.
    pub fn raw(&mut self) -> &mut C {
        &mut self.raw
    }

    /// The connection it was made of.
    pub fn into_raw(self) -> C {
        self.raw
    }

    fn timer(&self, command: &[u8]) -> Query {
        // Verbs are in capitals but for those that were written by hand.
        let verb = std::str::from_utf8(command).unwrap_or_default().to_ascii_uppercase();
        self.queries.of(&verb)
    }

    fn pipeline(&self, transaction: bool) -> Query {
        self.queries.of(if transaction { "MULTI" } else { "PIPELINE" })
    }
}

impl<C: aio::ConnectionLike + Send> aio::ConnectionLike for Connection<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let mut call = self.timer(verb(command)).call();
        Box::pin(async move {
            let answer = call_through(&mut call, self.raw.req_packed_command(command)).await;
            end(&mut call, &answer, failure);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let mut call = self.pipeline(pipeline.is_transaction()).call();
        Box::pin(async move {
            let commands = self.raw.req_packed_commands(pipeline, offset, count);
            let answers = call_through(&mut call, commands).await;
            end(&mut call, &answers, |values| values.iter().find_map(failure));
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.raw.get_db()
    }
}

impl<C: ConnectionLike> ConnectionLike for Connection<C> {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let mut call = self.timer(packed_verb(packed)).call();
        let answer = call.during(|| self.raw.req_packed_command(packed));
        end(&mut call, &answer, failure);
        answer
    }

    fn req_packed_commands(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let mut call = self.pipeline(offset > 0).call();
        let answers = call.during(|| self.raw.req_packed_commands(packed, offset, count));
        end(&mut call, &answers, |values| values.iter().find_map(failure));
        answers
    }

    // A cluster's has a way of its own.
    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut call = self.timer(verb(command)).call();
        let answer = call.during(|| self.raw.req_command(command));
        end(&mut call, &answer, failure);
        answer
    }

    fn get_db(&self) -> i64 {
        self.raw.get_db()
    }

    fn supports_pipelining(&self) -> bool {
        self.raw.supports_pipelining()
    }

    fn check_connection(&mut self) -> bool {
        self.raw.check_connection()
    }

    fn is_open(&self) -> bool {
        self.raw.is_open()
    }
}

impl<C> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("queries", &self.queries).finish_non_exhaustive()
    }
}

/// The verb of a command.
fn verb(command: &Cmd) -> &[u8] {
    match command.args_iter().next() {
        Some(Arg::Simple(verb)) => verb,
        _ => b"",
    }
}

/// The same of one on its way: `*2\r\n$3\r\nGET\r\n$6\r\norders\r\n`.
fn packed_verb(packed: &[u8]) -> &[u8] {
    packed.split(|byte| *byte == b'\n').nth(2).map_or(b"", |line| line.trim_ascii_end())
}

/// Awaits it as the call's steps.
async fn call_through<T>(call: &mut QueryCall, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    poll_fn(|cx| call.during(|| answer.as_mut().poll(cx))).await
}

fn end<T>(
    call: &mut QueryCall,
    answer: &RedisResult<T>,
    failed: impl FnOnce(&T) -> Option<Cow<'static, str>>,
) {
    match answer.as_ref().map(failed) {
        Ok(None) => call.stop(),
        Ok(Some(error_type)) => call.fail(&error_type),
        Err(error) => call.fail(&code(error)),
    }
}

/// An answer that says no. (The answers to a transaction's commands are in one.)
fn failure(value: &Value) -> Option<Cow<'static, str>> {
    match value {
        Value::ServerError(error) => Some(plain(error.code())),
        Value::Array(values) => values.iter().find_map(|value| match value {
            Value::ServerError(error) => Some(plain(error.code())),
            _ => None,
        }),
        _ => None,
    }
}

fn code(error: &RedisError) -> Cow<'static, str> {
    if let Some(code) = error.code() {
        return plain(code);
    }
    Cow::Borrowed(if error.is_timeout() {
        "timeout"
    } else if error.is_connection_dropped() {
        "connection_dropped"
    } else {
        match error.kind() {
            ErrorKind::Io => "io",
            ErrorKind::Parse => "parse",
            ErrorKind::AuthenticationFailed => "authentication_failed",
            ErrorKind::ClusterConnectionNotFound => "cluster_connection_not_found",
            _ => "client",
        }
    })
}

/// A server's code, if it looks like one: scripts may answer anything.
fn plain(code: &str) -> Cow<'static, str> {
    let named = |c: u8| c.is_ascii_uppercase() || c == b'_';
    if code.len() <= 16 && !code.is_empty() && code.bytes().all(named) {
        Cow::Owned(code.to_owned())
    } else {
        Cow::Borrowed("server")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_read_whether_the_command_is_packed_or_not() {
        let command = ::redis::cmd("SET").arg("key").arg("hunter2").to_owned();
        assert_eq!(verb(&command), b"SET");
        assert_eq!(packed_verb(&command.get_packed_command()), b"SET");
        for odd in [&b""[..], b"*1\r\n", b"\n\n", b"\xff\n\xff\n\xff"] {
            let _ = packed_verb(odd);
        }
    }

    #[test]
    fn a_code_of_a_script_is_no_label() {
        assert_eq!(plain("WRONGTYPE"), "WRONGTYPE");
        for odd in ["", "user hunter2", "A-VERY-LONG-CODE-INDEED", "e4711"] {
            assert_eq!(plain(odd), "server");
        }
    }
}
