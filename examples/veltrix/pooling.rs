//! The first story's question: what did connection pooling change? The same load against a server
//! that opens a connection for each request, and against one that keeps four: two deployments, each
//! with a highwater of its own, the first one's figures in a file until the second one's are there.

use std::{
    error::Error,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use highwater::{
    Highwater,
    compare::{Figures, Report},
    integrate::pool::{Pool, Refusal, State},
};
use rusqlite::Connection;

use crate::{
    config,
    database::{self, Error as DatabaseError},
};

const USERS: u32 = 4;
/// Each user's requests come this far apart: the load is the same however fast it is served.
const PACE: Duration = Duration::from_millis(4);
const LASTING: Duration = Duration::from_secs(3);

/// What a request does with its connection.
type Work<'a> = &'a dyn Fn(&Connection) -> Result<(), rusqlite::Error>;

/// Runs both, and says what changed.
pub(crate) fn compare() -> Result<Report, Box<dyn Error>> {
    let directory = Directory::new()?;
    let path = directory.0.join("veltrix.db");
    database::create(&path)?;
    let file = std::env::temp_dir().join("veltrix-unpooled.figures");

    // There is no pool whose state one could ask for.
    let unpooled = deployment(
        "unpooled",
        || None,
        |meter, work| {
            // From before it is open: that is work for the database too.
            let _used = meter.used();
            Ok(work(&database::open(&path)?)?)
        },
    )?;
    unpooled.save(&file)?;

    let pool = database::pool(&path)?;
    let seen = pool.clone();
    let state = move || {
        let state = seen.state();
        let (all, idle) = (u64::from(state.connections), u64::from(state.idle_connections));
        Some(State::new(all.saturating_sub(idle), idle, u64::from(seen.max_size())))
    };
    let pooled = deployment("pooled", state, |meter, work| {
        let connection = meter.acquire_blocking(|| pool.get(), |_| Refusal::Timeout)?;
        let _used = meter.used();
        Ok(work(&connection)?)
    })?;

    let report = Figures::load(&file)?.compare(&pooled);
    println!(
        "\nPOOLING: the same {} requests a second, figures of the first in {}",
        rate(),
        file.display()
    );
    print!("{report}");
    println!(
        "pooling changed the load on the database by {:+.0}% and query time by {:+.0}%",
        report.load.percent(),
        report.query_time.percent()
    );
    Ok(report)
}

fn rate() -> u128 {
    u128::from(USERS) * 1_000 / PACE.as_millis()
}

/// One way of doing it under the load. A real one would be a process of its own.
fn deployment(
    name: &str,
    state: impl FnMut() -> Option<State> + Send + 'static,
    serve: impl Fn(&Pool, Work<'_>) -> Result<(), DatabaseError> + Sync,
) -> Result<Figures, Box<dyn Error>> {
    let hw =
        Highwater::builder("veltrix").tick(Duration::from_millis(100)).without_presets().start()?;
    let meter = Pool::new(&hw, "orders", state);
    let settings = hw.query("settings_of_tenant").system("sqlite").pool("orders").build();
    let recording = hw.record(name);
    let request = |user: u32| {
        let tenant = database::tenant_of(user);
        settings.try_time(|| {
            serve(&meter, &|connection: &Connection| {
                for at in config::USED {
                    database::setting(connection, tenant, &config::key(at))?;
                }
                Ok(())
            })
        })
    };
    let begun = Instant::now();
    let failed = thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let request = &request;
                scope.spawn(move || -> Result<(), DatabaseError> {
                    let mut due = begun;
                    while due < begun + LASTING {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        request(user)?;
                        due += PACE;
                    }
                    Ok(())
                })
            })
            .collect();
        let ends = users.into_iter().map(|user| match user.join() {
            Ok(ended) => ended,
            Err(_) => Err("a user panicked".into()),
        });
        ends.collect::<Result<(), _>>().err()
    });
    if let Some(error) = failed {
        return Err(error.to_string().into());
    }
    Ok(recording.finish())
}

/// Gone when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("veltrix-pooling-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
