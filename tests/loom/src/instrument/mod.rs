//! The files of `src/instrument` that have something to check.

#[path = "../../../../src/instrument/bucket.rs"]
mod bucket;
#[path = "../../../../src/instrument/counter.rs"]
mod counter;
#[path = "../../../../src/instrument/cut.rs"]
mod cut;
#[path = "../../../../src/instrument/distribution.rs"]
mod distribution;
#[path = "../../../../src/instrument/drops.rs"]
mod drops;
#[path = "../../../../src/instrument/exemplar.rs"]
mod exemplar;
#[path = "../../../../src/instrument/histogram.rs"]
mod histogram;
#[path = "../../../../src/instrument/lease.rs"]
mod lease;
#[path = "../../../../src/instrument/shard.rs"]
mod shard;
#[path = "../../../../src/instrument/storage.rs"]
mod storage;
#[path = "../../../../src/instrument/store.rs"]
mod store;

mod model;
