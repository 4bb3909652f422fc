//! The server: one row by its key.

use std::io::BufRead;

use axum::{
    Router,
    extract::{MatchedPath, Path, State},
    http::StatusCode,
    routing::get,
};
use highwater::{Highwater, integrate};
use sqlx::{Executor, Postgres, Row, postgres::PgPoolOptions};
use tokio::net::TcpListener;

use super::child::{say, spent};

type Measured = integrate::sqlx::Pool<Postgres>;

pub(crate) fn serve(database: &str, hw: Option<&Highwater>) {
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines() {
            say(format_args!("{}", spent()));
        }
        std::process::exit(0);
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
        let pool = options.connect(database).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        say(format_args!("{}", listener.local_addr().unwrap()));
        let app = match hw {
            None => Router::new().route("/orders/{id}", get(plain)).with_state(pool),
            Some(hw) => {
                integrate::tokio::runtime(hw, "main", &tokio::runtime::Handle::current());
                let pool = integrate::sqlx::Pool::new(hw, "main", pool);
                let layer = integrate::tower::http(hw)
                    .route(|_, request| request.get::<MatchedPath>().map(MatchedPath::as_str));
                Router::new().route("/orders/{id}", get(measured)).with_state(pool).layer(layer)
            }
        };
        axum::serve(listener, app).await.unwrap();
    });
}

async fn plain(State(pool): State<sqlx::PgPool>, id: Path<i32>) -> Result<String, StatusCode> {
    order(&pool, id.0).await
}

async fn measured(State(pool): State<Measured>, id: Path<i32>) -> Result<String, StatusCode> {
    order(&pool, id.0).await
}

async fn order<'e, E>(by: E, id: i32) -> Result<String, StatusCode>
where
    E: Executor<'e, Database = Postgres>,
{
    let query = sqlx::query("SELECT total FROM orders WHERE id = $1").bind(id);
    match query.fetch_optional(by).await {
        Ok(Some(row)) => Ok(format!("order {id}: {}\n", row.get::<i32, _>(0))),
        Ok(None) => Err(StatusCode::NOT_FOUND),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
