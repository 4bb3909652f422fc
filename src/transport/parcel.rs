//! One encoded request, and why one may be lost.

use std::time::SystemTime;

use crate::sync::Arc;

/// Which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Alerts = 0,
    Metrics = 1,
}

impl Lane {
    /// In the order they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Alerts, Self::Metrics];

    /// The value of the `signal` label, and the word in a spool's file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Metrics => "metrics",
        }
    }
}

/// How a body is compressed. The numbers are part of the spool's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity = 0,
    Gzip = 1,
    Zstd = 2,
}

impl Encoding {
    /// `Content-Encoding`; absent for a body that is as it is.
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// One encoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// When its newest data were taken.
    pub(crate) at: SystemTime,
    /// Data points or log records in it.
    pub(crate) items: u32,
    pub(crate) encoding: Encoding,
    pub(crate) body: Arc<[u8]>,
}

/// Why data points or log records never arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// More waited than the queue holds.
    QueueFull,
    /// They waited longer than receivers care for.
    Expired,
    /// The disk lost them.
    Damaged,
    /// The receiver refused the request for good.
    Refused,
    /// The receiver took the request and rejected some of what was in it.
    Rejected,
    /// They still waited in memory when the instance was shut down.
    Shutdown,
}

impl Dropped {
    pub(crate) const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::Expired,
        Self::Damaged,
        Self::Refused,
        Self::Rejected,
        Self::Shutdown,
    ];

    /// The value of the `reason` label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}
