//! The server: `/order/{user}`, and `/report/{user}`, which is the same work but can wait; and
//! `/verdict`, by which a load test ends red if a rule fired.

use std::{
    error::Error,
    fmt,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as Parameter, State},
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::oneshot, task::spawn_blocking};

use crate::{
    Mode,
    cage::Inside,
    config::{self, Config, USED},
    database::{self, Pool},
    queue::Queue,
    watched::{Refusal, Watched},
};

/// Where the parent wants the database.
pub(crate) const DIRECTORY: &str = "VELTRIX_DIRECTORY";

/// A line for the parent, or for whoever reads; nobody need.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct App {
    config: Config,
    pool: Pool,
    watched: Option<Watched>,
    queue: Option<Queue>,
}

/// Serves until it is killed, or, as a child, until its input ends.
pub(crate) fn run(mode: Mode, port: u16, cage: &Inside) -> Result<(), Box<dyn Error>> {
    let directory = match std::env::var_os(DIRECTORY) {
        Some(path) => PathBuf::from(path),
        None => std::env::temp_dir().join(format!("veltrix-{}", std::process::id())),
    };
    std::fs::create_dir_all(&directory)?;
    cage.close()?;
    let app = Arc::new(App::open(mode, &directory.join("veltrix.db"), cage)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    runtime.block_on(serve(app.clone(), port, cage.is_child))?;
    if let Some(watched) = &app.watched {
        watched.hw.shutdown(Duration::from_secs(2))?;
    }
    Ok(())
}

async fn serve(app: Arc<App>, port: u16, is_child: bool) -> Result<(), Box<dyn Error>> {
    let router = Router::new()
        .route("/order/{user}", get(order))
        .route("/report/{user}", get(report))
        .route("/verdict", get(verdict))
        .with_state(app);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    say(format_args!("PORT {}", listener.local_addr()?.port()));
    let (end, ended) = oneshot::channel::<()>();
    if is_child {
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            drop(end);
        });
        tokio::select! {
            served = axum::serve(listener, router).into_future() => served?,
            _ = ended => {}
        }
    } else {
        axum::serve(listener, router).await?;
    }
    Ok(())
}

impl App {
    fn open(mode: Mode, path: &Path, cage: &Inside) -> Result<Self, Box<dyn Error>> {
        database::create(path)?;
        let config = Config::load();
        let watched = match mode {
            Mode::Alone => None,
            Mode::Watched | Mode::Fixed => {
                Some(Watched::start(cage.level(), config.state_of(0).bytes())?)
            }
        };
        let queue = match &watched {
            Some(watched) if mode == Mode::Fixed => {
                Some(Queue::start(path, watched.batch.clone()).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        Ok(Self { config, pool: database::pool(path)?, watched, queue })
    }

    async fn answer(self: Arc<Self>, user: u32, can_wait: bool) -> Response {
        if let Some(queue) = &self.queue {
            return match queue.order(user).await {
                Some(total) => total.to_string().into_response(),
                None => later("the queue is full"),
            };
        }
        let mut held = None;
        if let Some(watched) = &self.watched {
            match watched.admit(can_wait) {
                Ok(given) => held = Some(given),
                Err(refusal) => return refused(&refusal),
            }
        }
        // The story's mistake: all settings, for as long as the request lasts.
        let state = self.config.state_of(database::tenant_of(user));
        if let Some(held) = &mut held {
            Watched::account(held, &state);
        }
        let app = self.clone();
        let done = spawn_blocking(move || {
            let total = app.order(user, &state);
            drop((state, held));
            total
        });
        match done.await {
            Ok(Ok(total)) => total.to_string().into_response(),
            Ok(Err(error)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    fn order(&self, user: u32, state: &config::State) -> Result<i64, database::Error> {
        let mut connection = self.pool.get()?;
        let cents = config::price(USED.map(|at| state.get(&config::key(at))));
        let mut work = || database::order(&mut connection, user, cents);
        Ok(match &self.watched {
            Some(watched) => watched.order.try_time(work)?,
            None => work()?,
        })
    }
}

fn refused(refusal: &Refusal) -> Response {
    later(&refusal.to_string())
}

fn later(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], why.to_owned()).into_response()
}

async fn order(State(app): State<Arc<App>>, Parameter(user): Parameter<u32>) -> Response {
    app.answer(user, false).await
}

async fn report(State(app): State<Arc<App>>, Parameter(user): Parameter<u32>) -> Response {
    app.answer(user, true).await
}

async fn verdict(State(app): State<Arc<App>>) -> Response {
    let Some(watched) = &app.watched else {
        return "nobody looked".into_response();
    };
    let verdict = watched.hw.verdict();
    let status = if verdict.is_clear() { StatusCode::OK } else { StatusCode::CONFLICT };
    (status, verdict.to_string()).into_response()
}
