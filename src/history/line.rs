//! One series of plain numbers over the columns.

use super::{
    columns::{COLUMNS, Change},
    timing::SPAN,
};
use crate::{registry::Series, semconv as s, sync::Arc};

/// What is followed; `true` where the total rises for ever and a column keeps what it gained.
const FOLLOWED: &[(&str, bool)] = &[
    (s::MEMORY_USAGE, false),
    (s::MEMORY_LIMIT, false),
    (s::MEMORY_UTILIZATION, false),
    (s::MEMORY_BINDING, false),
    (s::MEMORY_BINDING_UTILIZATION, false),
    (s::MEMORY_TIME_TO_LIMIT, false),
    (s::MEMORY_RUNWAY, false),
    (s::MEMORY_EVENTS, true),
    (s::PROCESS_MEMORY_USAGE, false),
    (s::PROCESS_MEMORY_SWAP, false),
    (s::COMPONENT_MEMORY_USAGE, false),
    (s::COMPONENT_ITEMS, false),
    (s::COMPONENT_REQUESTS, false),
    (s::COMPONENT_MEMORY_PER_REQUEST, false),
    (s::ALLOCATOR_PROFILE_TIME, false),
    (s::PRESSURE_AVG10, false),
    (s::PROCESS_CPU_TIME, true),
    (s::CPU_THROTTLED_TIME, true),
    (s::CPU_PERIODS, true),
    (s::CPU_THROTTLED_PERIODS, true),
    (s::TOKIO_STALL, false),
    (s::TOKIO_WORKER_STALL, false),
    (s::TOKIO_BUSY_UTILIZATION, false),
    (s::PROCESS_THREAD_COUNT, false),
    (s::PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, false),
    (s::PROCESS_UNIX_FILE_DESCRIPTOR_LIMIT, false),
    (s::PROCESS_PAGING_FAULTS, true),
    (s::SYSTEM_PAGING_OPERATIONS, true),
    (s::QUERY_IN_FLIGHT, false),
    (s::DB_CLIENT_CONNECTION_COUNT, false),
    (s::DB_CLIENT_CONNECTION_MAX, false),
    (s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, false),
    (s::DB_CLIENT_CONNECTION_TIMEOUTS, true),
];

/// Whether a metric is followed, and whether it adds up.
pub(super) fn is_followed(metric: &str) -> Option<bool> {
    FOLLOWED.iter().find(|(name, _)| *name == metric).map(|(_, adds_up)| *adds_up)
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) series: Arc<Series>,
    adds_up: bool,
    now: f64,
    /// The greatest value of each column, or what it gained; NaN where there was none.
    values: Vec<f32>,
}

impl Line {
    pub(super) fn new(series: Arc<Series>, adds_up: bool) -> Self {
        Self { series, adds_up, now: f64::NAN, values: vec![f32::NAN; COLUMNS] }
    }

    pub(super) fn clear(&mut self) {
        self.values.fill(f32::NAN);
        self.now = f64::NAN;
    }

    pub(super) fn push(&mut self, column: usize, value: f64) {
        let before = std::mem::replace(&mut self.now, value);
        let Some(slot) = self.values.get_mut(column) else { return };
        *slot = if self.adds_up {
            // A first reading is a baseline, a lower one a restart.
            let gained = if value >= before { (value - before) as f32 } else { f32::NAN };
            add(*slot, gained)
        } else {
            slot.max(value as f32)
        };
    }

    pub(super) fn shift(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Halve => {
                for at in 0..COLUMNS / 2 {
                    let (one, two) = (self.values[2 * at], self.values[2 * at + 1]);
                    self.values[at] = if self.adds_up { add(one, two) } else { one.max(two) };
                }
                self.values[COLUMNS / 2..].fill(f32::NAN);
            }
            Change::Drop => {
                self.values.copy_within(SPAN.., 0);
                self.values[COLUMNS - SPAN..].fill(f32::NAN);
            }
        }
    }

    /// Its last reading, if it is present.
    pub(crate) fn now(&self) -> Option<f64> {
        (!self.now.is_nan()).then_some(self.now)
    }

    /// What a column holds.
    pub(crate) fn at(&self, column: usize) -> f32 {
        self.values.get(column).copied().unwrap_or(f32::NAN)
    }

    pub(crate) fn label(&self, key: &str) -> &str {
        self.series.labels.get(key).unwrap_or_default()
    }
}

fn add(one: f32, two: f32) -> f32 {
    match (one.is_nan(), two.is_nan()) {
        (true, _) => two,
        (_, true) => one,
        _ => one + two,
    }
}
