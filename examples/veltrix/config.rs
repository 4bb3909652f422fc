//! The configuration layer of the story: each request gets all the settings of its tenant, and keeps
//! them until it is answered. It looks harmless in every test with few users.

use std::{collections::HashMap, sync::Arc};

const SETTINGS: usize = 1_024;
/// What an order asks of them.
pub(crate) const USED: [usize; 3] = [7, 300, 901];

pub(crate) fn key(at: usize) -> String {
    format!("veltrix.service.setting.{at:04}")
}

/// A tenant's own value, or the default.
pub(crate) fn value(tenant: u32, at: usize) -> String {
    format!("{:>8}:{at:04}:{}", if at % 100 == 7 { tenant } else { 0 }, "v".repeat(186))
}

/// The settings everybody begins with.
pub(crate) struct Config {
    defaults: Vec<(Arc<str>, String)>,
}

/// One request's settings.
pub(crate) struct State(HashMap<Arc<str>, String>);

impl Config {
    pub(crate) fn load() -> Self {
        Self { defaults: (0..SETTINGS).map(|at| (key(at).into(), value(0, at))).collect() }
    }

    /// The state of a request for this tenant.
    pub(crate) fn state_of(&self, tenant: u32) -> State {
        let mut all: HashMap<_, _> = self.defaults.iter().cloned().collect();
        for (at, (key, _)) in self.defaults.iter().enumerate().skip(7).step_by(100) {
            all.insert(key.clone(), value(tenant, at));
        }
        State(all)
    }
}

impl State {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// What it holds on the heap: the table, and the texts.
    pub(crate) fn bytes(&self) -> u64 {
        let table = self.0.capacity() * 8 / 7 * (size_of::<(Arc<str>, String)>() + 1);
        let texts: usize = self.0.values().map(String::capacity).sum();
        (table + texts) as u64
    }
}

/// What an order costs, by its tenant's settings.
pub(crate) fn price<T: AsRef<str>>(settings: [Option<T>; 3]) -> i64 {
    let digits =
        settings.iter().flatten().map(|text| text.as_ref().bytes().map(i64::from).sum::<i64>());
    digits.sum()
}
