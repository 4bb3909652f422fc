//! Names to addresses within a time-out, which `getaddrinfo` does not know: on a thread of its own,
//! at most one a name. A call that finds one under way waits for it, so a resolver that hangs
//! gathers no threads. Literal addresses need none.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

use ureq::http::Uri;

use crate::sync::Mutex;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the name's look-up took too long")]
    TimedOut,
    #[error("host not found")]
    NotFound,
    #[error(transparent)]
    Failed(io::Error),
}

type Answer = io::Result<Vec<SocketAddr>>;

#[derive(Default)]
pub(crate) struct Lookup {
    under_way: Mutex<HashMap<String, mpsc::Receiver<Answer>>>,
}

impl Lookup {
    /// At least one address of the URI's host.
    pub(crate) fn find(
        &self,
        uri: &Uri,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let host = uri.host().ok_or(LookupError::NotFound)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = literal {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.find_name(format!("{host}:{port}"), timeout)?;
        if found.is_empty() { Err(LookupError::NotFound) } else { Ok(found) }
    }

    fn find_name(&self, target: String, timeout: Duration) -> Result<Vec<SocketAddr>, LookupError> {
        let mut under_way = self.under_way.lock();
        let answer = match under_way.remove(&target) {
            Some(answer) => answer,
            None => start(target.clone()).map_err(LookupError::Failed)?,
        };
        match answer.recv_timeout(timeout) {
            Ok(found) => found.map_err(LookupError::Failed),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                under_way.insert(target, answer);
                Err(LookupError::TimedOut)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(LookupError::NotFound),
        }
    }
}

fn start(target: String) -> io::Result<mpsc::Receiver<Answer>> {
    let (answer, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("highwater-dns".into()).spawn(move || {
        // Nobody may wait any more: then there is nobody to tell.
        let _ = answer.send(target.to_socket_addrs().map(Iterator::collect));
    })?;
    Ok(receiver)
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}
