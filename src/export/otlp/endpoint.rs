//! Addresses and headers: what may be sent where.

use std::net::IpAddr;

use ureq::http::{HeaderName, HeaderValue, Uri};

use super::config::{Error, Protocol};

/// What becomes of an endpoint's path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// It is a base: the signal's path is appended.
    Append(&'static str),
    /// It is used as it is.
    Given,
}

/// The full URL, or what would be allowed.
pub(crate) fn parse_endpoint(text: &str, path: Path, protocol: Protocol) -> Result<String, String> {
    const ALLOWED: &str =
        "http://HOST[:PORT][/PATH] or https://…, a base without user, query or fragment";
    let uri: Uri = text.trim().parse().map_err(|_| ALLOWED)?;
    let authority = uri.authority().ok_or(ALLOWED)?;
    let host = authority.host();
    // `port_u16` takes a port that is no number for none.
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    let port_fits =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let query_fits = matches!(path, Path::Given) || uri.query().is_none();
    if host.is_empty() || authority.as_str().contains('@') || text.contains('#') {
        return Err(ALLOWED.into());
    }
    if !port_fits || !query_fits {
        return Err(ALLOWED.into());
    }
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if protocol.has_tls() => {}
        Some("https") => {
            let feature = protocol.tls_feature();
            return Err(format!("http://, as this build lacks highwater's feature `{feature}`"));
        }
        _ => return Err(ALLOWED.into()),
    }
    Ok(match path {
        Path::Append(path) => format!(
            "{}://{authority}{}{path}",
            uri.scheme_str().unwrap_or("http"),
            uri.path().trim_end_matches('/')
        ),
        Path::Given => uri.to_string(),
    })
}

/// An address without the password it may hold.
pub(crate) fn shown(endpoint: &str) -> String {
    match endpoint.rsplit_once('@') {
        Some((_, host)) => format!("\"…@{host}\""),
        None => format!("{endpoint:?}"),
    }
}

/// An address without its path, which of a webhook is as good as a password.
#[cfg(any(feature = "alertmanager", feature = "webhook"))]
pub(crate) fn place(url: &str) -> String {
    let (scheme, rest) = url.trim().split_at(url.trim().find("://").map_or(0, |at| at + 3));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        // What is before it may be a password with a slash in it.
        None if path.contains('@') => "\"…\"".to_owned(),
        None if path.len() <= 1 => format!("\"{scheme}{authority}\""),
        None => format!("\"{scheme}{authority}/…\""),
        Some((_, host)) => format!("\"{scheme}…@{host}/…\""),
    }
}

pub(crate) fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn is_credential(header: &str) -> bool {
    const WORDS: [&str; 11] = [
        // `authorization`, `proxy-authorization`, `x-auth-key`.
        "auth",
        "cookie",
        "api-key",
        "apikey",
        "access-key",
        "ingestion-key",
        "token",
        "secret",
        "password",
        "credential",
        "honeycomb-team",
    ];
    WORDS.iter().any(|word| header.contains(word))
}

pub(crate) fn check_header(setting: &str, name: &str, value: &str) -> Option<Error> {
    if HeaderName::try_from(name).is_err() {
        let allowed = "a token of letters, digits and !#$%&'*+-.^_`|~";
        return Some(Error::new(setting, format!("named {name:?}"), allowed));
    }
    if ["content-type", "content-encoding", "content-length", "transfer-encoding", "host"]
        .contains(&name.to_ascii_lowercase().as_str())
    {
        let allowed = "any header but those the request itself sets";
        return Some(Error::new(setting, format!("named {name:?}"), allowed));
    }
    if HeaderValue::try_from(value).is_err() {
        let allowed = "a value without control characters";
        return Some(Error::new(format!("{setting} {name:?}"), "not sendable", allowed));
    }
    None
}

#[cfg(all(test, any(feature = "alertmanager", feature = "webhook")))]
mod tests {
    use super::place;

    #[test]
    fn a_place_tells_no_secret() {
        for (url, shown) in [
            ("nowhere", "\"nowhere\""),
            ("http://127.0.0.1:9093", "\"http://127.0.0.1:9093\""),
            ("http://127.0.0.1:9093/", "\"http://127.0.0.1:9093\""),
            ("https://chat.example/services/T0/secret", "\"https://chat.example/…\""),
            ("chat.example/services/secret", "\"chat.example/…\""),
            ("https://chat.example?key=secret", "\"https://chat.example/…\""),
            ("https://me:secret@chat.example/x", "\"https://…@chat.example/…\""),
            ("https://me:sec/ret@chat.example", "\"…\""),
            ("https://chat.example/@secret", "\"…\""),
        ] {
            assert_eq!(place(url), shown);
        }
    }
}
