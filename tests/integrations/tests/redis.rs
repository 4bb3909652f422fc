//! A real Redis: what is counted is what the server counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;
#[path = "../../support/redis.rs"]
mod server;

use std::time::Duration;

use highwater::integrate;
use points::Points;
use receiver::{Reaction, Receiver};
use redis::{AsyncCommands, Commands, RedisResult};
use server::Redis;

const DURATION: &str = "db.client.operation.duration";

fn calls(points: &Points, name: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("db.system.name", "redis")])
}

fn failures(points: &Points, name: &str, error: &str) -> Option<u64> {
    points.count_of(DURATION, &[("db.query.summary", name), ("error.type", error)])
}

fn in_flight(points: &Points) -> f64 {
    points.all("highwater.query.in_flight").map(|point| point.value).sum()
}

#[test]
fn commands_of_a_blocking_connection() {
    let Some(server) = Redis::start("redis") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("redis").build();
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_connection().unwrap();
    let mut connection = integrate::redis::measure(connection, &queries);
    for n in 0..20 {
        let _: () = connection.set(format!("secret{n}"), n).unwrap();
    }
    let got: Vec<i32> = (0..10).map(|n| connection.get(format!("secret{n}")).unwrap()).collect();
    assert_eq!(got, (0..10).collect::<Vec<_>>());
    // Written by hand, in small letters, and a verb that is a value.
    let _: Option<String> = redis::cmd("get").arg("none").query(&mut connection).unwrap();
    let unknown: RedisResult<()> = redis::cmd("hunter2").query(&mut connection);
    assert_eq!(unknown.unwrap_err().code(), Some("ERR"));
    let wrong: RedisResult<i32> = connection.lpop("secret1", None);
    assert_eq!(wrong.unwrap_err().code(), Some("WRONGTYPE"));
    let (one, two): (i32, i32) =
        redis::pipe().get("secret1").get("secret2").query(&mut connection).unwrap();
    let both: (i32,) = redis::pipe().atomic().incr("n", 1).query(&mut connection).unwrap();
    assert_eq!((one, two, both.0), (1, 2, 1));
    let failing: RedisResult<(i32, i32)> =
        redis::pipe().get("secret1").lpop("secret1", None).query(&mut connection);
    failing.unwrap_err();
    let failing: RedisResult<(i32, i32)> =
        redis::pipe().atomic().get("secret1").lpop("secret1", None).query(&mut connection);
    failing.unwrap_err();

    let points = Points::until(&receiver, |points| calls(points, "MULTI") == Some(1));
    assert_eq!(calls(&points, "SET"), Some(server.calls("set").0));
    assert_eq!(calls(&points, "GET"), Some(11), "{points:#?}");
    // Those of the pipelines are in them.
    assert_eq!(server.calls("get").0, 11 + 4);
    assert_eq!((calls(&points, "PIPELINE"), calls(&points, "MULTI")), (Some(1), Some(1)));
    assert_eq!(failures(&points, "_OTHER", "ERR"), Some(1));
    assert_eq!(failures(&points, "LPOP", "WRONGTYPE"), Some(1));
    assert_eq!(failures(&points, "PIPELINE", "WRONGTYPE"), Some(1));
    assert_eq!(failures(&points, "MULTI", "WRONGTYPE"), Some(1));
    assert_eq!(server.calls("lpop"), (3, 3));
    assert_eq!(in_flight(&points), 0.0);
    let told = points.0.iter().flat_map(|point| &point.labels);
    assert!(
        told.into_iter().all(|label| !label.1.contains("secret") && !label.1.contains("hunter"))
    );

    // The server is gone.
    drop(server);
    let _: RedisResult<i32> = connection.get("secret1");
    let gone: RedisResult<i32> = connection.get("secret1");
    gone.unwrap_err();
    Points::until(&receiver, |points| {
        let failed = points.all(DURATION).filter(|point| {
            point.get("db.query.summary") == Some("GET") && point.get("error.type").is_some()
        });
        failed.filter_map(|point| point.count).sum::<u64>() == 2
    });
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_async_code_slow_failing_and_given_up() {
    let Some(server) = Redis::start("redis") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let queries = hw.queries().system("redis").build();
    let client = redis::Client::open(server.url()).unwrap();
    // Longer than what is slow here.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let connection = integrate::redis::measure(connection, &queries);

    // Shared, as services do.
    let mut tasks = Vec::new();
    for n in 0..8 {
        let mut connection = connection.clone();
        tasks.push(tokio::spawn(async move {
            for m in 0..25 {
                let _: () = connection.set(format!("secret{n}"), m).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut own = connection.clone();
    // Slow: an empty list is waited for.
    let none: Option<(String, i32)> = own.blpop("empty", 0.25).await.unwrap();
    assert!(none.is_none());
    let wrong: RedisResult<i32> = own.lpop("secret1", None).await;
    assert_eq!(wrong.unwrap_err().code(), Some("WRONGTYPE"));
    let (one,): (i32,) = redis::pipe().get("secret1").query_async(&mut own).await.unwrap();
    assert_eq!(one, 24);
    let failing: RedisResult<(i32,)> =
        redis::pipe().atomic().lpop("secret1", None).query_async(&mut own).await;
    failing.unwrap_err();

    // Dropped while it waits: seen in flight, then given up.
    let waits = tokio::spawn(async move {
        let _: RedisResult<Option<(String, i32)>> = own.brpop("empty", 600.0).await;
    });
    // By name: of what came before, a push may be under way.
    let under_way = |points: &Points| {
        points.labelled("highwater.query.in_flight", "db.query.summary", "BRPOP") == Some(1.0)
    };
    Points::until(&receiver, under_way);
    waits.abort();
    assert!(waits.await.unwrap_err().is_cancelled());

    let points =
        Points::until(&receiver, |points| failures(points, "BRPOP", "cancelled") == Some(1));
    assert_eq!(calls(&points, "SET"), Some(200));
    assert_eq!(server.calls("set"), (200, 0));
    let slow = points.labelled(DURATION, "db.query.summary", "BLPOP").unwrap();
    assert!((0.25..60.0).contains(&slow), "{slow}");
    assert_eq!(failures(&points, "LPOP", "WRONGTYPE"), Some(1));
    assert_eq!(failures(&points, "MULTI", "WRONGTYPE"), Some(1));
    assert_eq!(calls(&points, "PIPELINE"), Some(1));
    assert_eq!(in_flight(&points), 0.0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_pool_of_connections_under_load_and_with_none_left() {
    let Some(server) = Redis::start("redis") else { return };
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let manager = integrate::pool::Opening::of(&hw, "main", client);
    let builder = r2d2::Pool::builder().max_size(1).connection_timeout(Duration::from_secs(1));
    let pool = integrate::r2d2::Pool::new(&hw, "main", builder.build(manager).unwrap());
    let mut held = pool.get().unwrap();
    let _: () = held.set("a", 1).unwrap();
    pool.get().map(|_| ()).unwrap_err();
    drop(held);
    let points = Points::until(&receiver, |points| {
        points.value("db.client.connection.timeouts") == Some(1.0)
            && points.count("db.client.connection.create_time") == Some(1)
    });
    assert_eq!(points.count("db.client.connection.wait_time"), Some(1));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
