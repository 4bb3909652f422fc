//! What each integration exports, held against `docs/integrations.md` on a real receiver: pushed to
//! VictoriaMetrics and read back by its names and labels, none missing and none too many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/postgres.rs"]
mod postgres;
#[path = "../../support/redis.rs"]
mod redis_server;
#[path = "../../support/stack.rs"]
mod stack;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use diesel::{Connection as _, RunQueryDsl, sql_query};
use highwater::{
    Highwater,
    export::otlp,
    integrate::{self, pool::Opening, tokio_postgres::GenericClient},
};
use postgres::Postgres;
use redis_server::Redis;
use sqlx::Executor as _;
use stack::Victoria;
use tokio_postgres::NoTls;

const TABLE: &str = include_str!("../../../docs/integrations.md");

/// A metric of the table.
struct Row {
    metric: String,
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
}

/// What the table says of one integration.
fn table_of(integration: &str) -> Vec<Row> {
    let rows: Vec<Vec<&str>> = TABLE
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let column = rows[0].iter().position(|head| *head == integration).expect("a column");
    let mut found = Vec::new();
    for row in rows.iter().skip(2).filter(|row| row[column].starts_with('✓')) {
        let optional = |name: &str| row[1].contains(&format!("(`{name}`)"));
        let names = row[1].split('`').skip(1).step_by(2).map(str::to_owned);
        let (mut optional, required): (BTreeSet<_>, BTreeSet<_>) =
            names.partition(|name| optional(name));
        if row[column].contains('¹') {
            optional.remove("error.type");
        }
        found.push(Row { metric: row[0].trim_matches('`').to_owned(), required, optional });
    }
    assert!(!found.is_empty(), "nothing of {integration} in the table");
    found
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

/// What a receiver makes of a metric's name may follow it.
fn is_of(series: &str, metric: &str) -> bool {
    let Some(rest) = series.strip_prefix(&underscored(metric)) else { return false };
    let rest =
        ["_seconds", "_bytes"].iter().find_map(|unit| rest.strip_prefix(unit)).unwrap_or(rest);
    matches!(rest, "" | "_bucket" | "_count" | "_sum" | "_total" | "_ratio")
}

/// The series of one instance as the receiver has them: name, and labels but the resource's.
fn series_of(victoria: &Victoria, service: &str) -> Vec<(String, BTreeSet<String>)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let all = victoria.query(r#"{__name__=~"(db|http|highwater)_.+"}"#, now + 1.0);
    let all = all.into_iter().filter_map(|(labels, _)| {
        let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
        (labels.values().any(|value| value == service)).then_some(labels)
    });
    let mut all: Vec<_> = all.collect();
    // What one without attributes has is the resource's.
    let bare = all.iter().find(|labels| labels["__name__"].starts_with("highwater_tick_missed"));
    let Some(resource) = bare.map(|labels| labels.keys().cloned().collect::<BTreeSet<_>>()) else {
        return Vec::new();
    };
    let is_ours = |name: &str| {
        ["db_", "http_", "highwater_query_", "highwater_pool_"].iter().any(|p| name.starts_with(p))
    };
    all.retain(|labels| is_ours(&labels["__name__"]));
    all.into_iter()
        .map(|mut labels| {
            let name = labels.remove("__name__").unwrap();
            labels.retain(|key, _| !resource.contains(key) && key != "vmrange" && key != "le");
            (name, labels.into_keys().collect())
        })
        .collect()
}

/// What is wrong with what has arrived.
fn mistakes(table: &[Row], series: &[(String, BTreeSet<String>)]) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in series {
        let Some(row) = table.iter().find(|row| is_of(name, &row.metric)) else {
            mistakes.push(format!("{name} is not in the table"));
            continue;
        };
        let named = |names: &BTreeSet<String>| names.iter().map(|n| underscored(n)).collect();
        let (required, optional): (BTreeSet<_>, BTreeSet<_>) =
            (named(&row.required), named(&row.optional));
        for missing in required.difference(labels) {
            mistakes.push(format!("{name} lacks {missing}"));
        }
        for label in labels.difference(&required).filter(|label| !optional.contains(*label)) {
            mistakes.push(format!("{name} has {label}"));
        }
        seen.entry(&row.metric).or_default().extend(labels.iter().cloned());
    }
    for row in table {
        match seen.get(row.metric.as_str()) {
            None => mistakes.push(format!("{} did not arrive", row.metric)),
            Some(labels) => {
                for name in row.optional.iter().filter(|name| !labels.contains(&underscored(name)))
                {
                    mistakes.push(format!("{} never had {name}", row.metric));
                }
            }
        }
    }
    mistakes
}

fn instance(victoria: &Victoria, integration: &str) -> Highwater {
    let to = otlp::to(victoria.otlp_base()).interval(Duration::from_millis(200));
    Highwater::builder(&service(integration))
        .tick(Duration::from_millis(100))
        .without_presets()
        .export(to)
        .start()
        .unwrap()
}

fn service(integration: &str) -> String {
    format!("table-{integration}")
}

/// Waits until what the table says has arrived, and nothing else; pools are still there meanwhile.
fn hold(victoria: &Victoria, hw: &Highwater, integration: &str) {
    let table = table_of(integration);
    let mut last = Vec::new();
    let give_up = std::time::Instant::now() + Duration::from_secs(60);
    while std::time::Instant::now() < give_up {
        let series = series_of(victoria, &service(integration));
        last = mistakes(&table, &series);
        if last.is_empty() {
            println!("{integration}: {} series of {} metrics", series.len(), table.len());
            hw.shutdown(Duration::from_secs(5)).unwrap();
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{integration}: {last:#?}");
}

#[test]
fn the_table_is_read_as_it_is_meant() {
    let sqlx = table_of("sqlx");
    assert_eq!(sqlx[0].metric, "db.client.operation.duration");
    assert_eq!((sqlx[0].required.len(), sqlx[0].optional.len()), (2, 1));
    assert!(table_of("rusqlite")[0].optional.is_empty());
    assert!(is_of("db_client_connection_count", "db.client.connection.count"));
    assert!(!is_of("db_client_connection_max", "db.client.connection.count"));
    assert!(is_of("db_client_operation_duration_seconds_bucket", "db.client.operation.duration"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_a_database() {
    let Some(server) = Postgres::start("tables") else { return };
    let Some(victoria) = Victoria::start("tables") else { return };
    let hw = instance(&victoria, "tokio-postgres");
    let queries = hw.queries().system("postgresql").build();
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let client = integrate::tokio_postgres::Client::new(client, &queries);
    client.query("SELECT 1 FROM pg_am", &[]).await.unwrap();
    client.query("SELECT 1 FROM nowhere", &[]).await.unwrap_err();
    hold(&victoria, &hw, "tokio-postgres");

    let hw = instance(&victoria, "diesel");
    let queries = hw.queries().system("postgresql").build();
    let mut connection = diesel::PgConnection::establish(&server.url()).unwrap();
    connection.set_instrumentation(integrate::diesel::measure(&queries));
    sql_query("SELECT 1 FROM pg_am").execute(&mut connection).unwrap();
    sql_query("SELECT 1 FROM nowhere").execute(&mut connection).unwrap_err();
    hold(&victoria, &hw, "diesel");

    let hw = instance(&victoria, "rusqlite");
    let queries = hw.queries().system("sqlite").build();
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    integrate::rusqlite::measure(&mut connection, &queries).unwrap();
    connection
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
        .unwrap();
    connection.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
    hold(&victoria, &hw, "rusqlite");
}

#[test]
fn commands_of_redis() {
    let Some(server) = Redis::start("tables") else { return };
    let Some(victoria) = Victoria::start("tables") else { return };
    let hw = instance(&victoria, "redis");
    let queries = hw.queries().system("redis").build();
    let connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut connection = integrate::redis::measure(connection, &queries);
    redis::cmd("SET").arg("a").arg(1).exec(&mut connection).unwrap();
    redis::cmd("LPOP").arg("a").exec(&mut connection).unwrap_err();
    hold(&victoria, &hw, "redis");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools() {
    let Some(server) = Postgres::start("tables") else { return };
    let Some(victoria) = Victoria::start("tables") else { return };
    let patience = Duration::from_secs(5);

    let hw = instance(&victoria, "sqlx");
    let options = sqlx::postgres::PgPoolOptions::new().max_connections(2).acquire_timeout(patience);
    let pool = options.connect(&server.url()).await.unwrap();
    let pool = integrate::sqlx::Pool::new(&hw, "main", pool);
    sqlx::query("SELECT 1 FROM pg_am").fetch_all(&pool).await.unwrap();
    pool.execute("SELECT 1 FROM nowhere").await.unwrap_err();
    // A failure to connect that is none of waiting.
    let lost = sqlx::postgres::PgPoolOptions::new();
    let lost = lost.connect_lazy(&server.url().replace("/postgres", "/nowhere")).unwrap();
    let lost = integrate::sqlx::Pool::new(&hw, "lost", lost);
    lost.acquire().await.unwrap_err();
    hold(&victoria, &hw, "sqlx");

    let hw = instance(&victoria, "deadpool");
    let deadpool = |name: &str, url: String| {
        let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
        let pool = deadpool::managed::Pool::builder(Opening::of(&hw, name, manager))
            .wait_timeout(Some(patience))
            .runtime(deadpool::Runtime::Tokio1)
            .build();
        integrate::deadpool::Pool::new(&hw, name, pool.unwrap())
    };
    let pool = deadpool("main", server.url());
    drop(pool.get().await.unwrap());
    let lost = deadpool("lost", server.url().replace("/postgres", "/nowhere"));
    assert!(lost.get().await.is_err());
    hold(&victoria, &hw, "deadpool");

    let hw = instance(&victoria, "bb8");
    let bb8 = async |name: &str, url: String| {
        let manager = bb8_postgres::PostgresConnectionManager::new_from_stringlike(url, NoTls);
        let pool = bb8::Pool::builder()
            .connection_timeout(patience)
            .min_idle(1)
            .build_unchecked(Opening::of(&hw, name, manager.unwrap()));
        integrate::bb8::Pool::new(&hw, name, pool)
    };
    let pool = bb8("main", server.url()).await;
    drop(pool.get().await.unwrap());
    hold(&victoria, &hw, "bb8");

    let hw = instance(&victoria, "r2d2");
    let manager = diesel::r2d2::ConnectionManager::<diesel::PgConnection>::new(server.url());
    let pool = r2d2::Pool::builder().min_idle(Some(1)).connection_timeout(patience);
    let pool = pool.build(Opening::of(&hw, "main", manager)).unwrap();
    let pool = integrate::r2d2::Pool::new(&hw, "main", pool);
    drop(pool.get().unwrap());
    hold(&victoria, &hw, "r2d2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_server() {
    use axum::{Router, body::Bytes, extract::MatchedPath, http::StatusCode, routing::post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Some(victoria) = Victoria::start("tables") else { return };
    let hw = instance(&victoria, "tower");
    let app = Router::new()
        .route("/upload", post(async |body: Bytes| body.len().to_string()))
        .route("/fails", post(async |_: Bytes| StatusCode::SERVICE_UNAVAILABLE))
        .layer(
            integrate::tower::http(&hw)
                .body_sizes()
                .route(|_, request| request.get::<MatchedPath>().map(MatchedPath::as_str)),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    for path in ["/upload", "/fails", "/nowhere"] {
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\n12345"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
    hold(&victoria, &hw, "tower");
}
