//! What this crate's series are called on a server.

use crate::{
    name::Unit,
    rule::{KNOWN, naming},
};

/// The name on the server; of what is not listed, without suffixes.
pub(super) fn server_name(name: &str) -> String {
    match KNOWN.iter().find(|(listed, ..)| *listed == name) {
        Some((_, kind, unit)) => naming::metric(name, &Unit::known(unit), *kind),
        None => naming::escape(name),
    }
}
