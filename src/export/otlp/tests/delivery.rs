//! What becomes of a request, whatever the receiver does.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
};
use prost::Message;

use super::{
    DAY_ZERO, exporter, one_gauge,
    receiver::{PROTOBUF, Reaction, Receiver},
    step, transition,
};
use crate::{
    event::State,
    export::otlp::{self, Exporter, Step},
    transport::{
        Dropped,
        Lane::{Alerts, Metrics},
        queue::Load,
    },
};

/// Short, where the receiver is known not to answer.
const SHORT: Duration = Duration::from_millis(200);
/// Where it does, however busy the machine is.
const LONG: Duration = Duration::from_secs(60);

/// Sends one gauge to a receiver that always reacts like this.
fn after_one_attempt(reaction: Reaction) -> (Exporter, Receiver) {
    let timeout = match reaction {
        Reaction::NeverAnswers | Reaction::Drips { .. } => SHORT,
        _ => LONG,
    };
    let receiver = Receiver::always(reaction);
    let mut exporter = exporter(otlp::to(receiver.url()).timeout(timeout));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    (exporter, receiver)
}

fn last_error(exporter: &Exporter) -> String {
    exporter.health().last_error().expect("an error")
}

#[test]
fn success_empties_the_queue() {
    for reaction in [Reaction::ok(), Reaction::status(200), Reaction::status(204)] {
        let (mut exporter, receiver) = after_one_attempt(reaction);
        assert_eq!(step(&mut exporter), Step::Idle);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).sent_items), (1, 1));
        assert_eq!(report.load, Load::default());
        assert!(report.last_success.is_some() && exporter.health().last_error().is_none());
        assert_eq!(receiver.received().len(), 1);
    }
}

#[test]
fn what_the_specification_calls_permanent_is_not_tried_again_and_counted() {
    for status in [301, 400, 401, 403, 404, 405, 408, 413, 422, 500, 501, 505] {
        let reaction = Reaction::with(status, &[("content-type", "text/plain")], b"go\r\naway\x07");
        let (mut exporter, receiver) = after_one_attempt(reaction);
        assert_eq!(step(&mut exporter), Step::Idle, "{status}");
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).refused, report.lane(Metrics).sent), (1, 0), "{status}");
        assert_eq!(report.dropped(Metrics, Dropped::Refused), 1, "{status}");
        assert_eq!(receiver.received().len(), 1);
        let error = last_error(&exporter);
        assert!(error.contains(&status.to_string()) && error.contains("go  away"), "{error}");
    }
}

#[test]
fn what_may_pass_waits_and_is_sent_again_unchanged() {
    for status in [429, 502, 503, 504] {
        let receiver =
            Receiver::start(
                move |number, _| {
                    if number == 0 { Reaction::status(status) } else { Reaction::ok() }
                },
            );
        let mut exporter = exporter(otlp::to(receiver.url()));
        exporter.intake().metrics(&one_gauge(1.0));
        assert_eq!(step(&mut exporter), Step::Tried);
        let Step::Wait(wait) = step(&mut exporter) else { panic!("no wait after {status}") };
        assert!(wait < Duration::from_secs(1), "{wait:?}");
        assert_eq!(receiver.received().len(), 1, "nothing is sent before its time");
        let later = Instant::now() + wait;
        assert_eq!(exporter.send_next(later, later + LONG), Step::Tried);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).retried), (1, 1));
        let received = receiver.received();
        assert_eq!(received[0].body, received[1].body);
    }
}

#[test]
fn retry_after_is_honoured_in_seconds_and_as_a_date() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    for (value, least, most) in [("30", 29, 31), (&*date, 90, 101), ("1000000", 599, 601)] {
        let (mut exporter, _receiver) =
            after_one_attempt(Reaction::with(429, &[("retry-after", value)], b""));
        let Step::Wait(wait) = step(&mut exporter) else { panic!("no wait for {value:?}") };
        let allowed = Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(allowed.contains(&wait), "{value:?}: {wait:?}");
    }
}

#[test]
fn silence_cut_lines_and_nonsense_are_tried_again() {
    for reaction in [Reaction::NeverAnswers, Reaction::HalfCloses, Reaction::Garbage] {
        let (mut exporter, _receiver) = after_one_attempt(reaction.clone());
        assert!(matches!(step(&mut exporter), Step::Wait(_)), "{reaction:?}");
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).retried, report.load.requests), (1, 1), "{reaction:?}");
        assert!(!last_error(&exporter).is_empty());
    }
}

#[test]
fn nobody_listening_is_tried_again() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporter = exporter(otlp::to(format!("http://{closed}")));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    assert!(matches!(step(&mut exporter), Step::Wait(_)));
    assert!(last_error(&exporter).contains("refused"), "{}", last_error(&exporter));
}

#[test]
fn a_name_that_does_not_exist_is_tried_again() {
    let mut exporter = exporter(otlp::to("http://no-such-host.invalid:4318").timeout(SHORT * 50));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
}

#[test]
fn a_status_that_arrived_counts_though_the_body_never_does() {
    // Accepted is accepted: sending again would be twice.
    for reaction in [Reaction::Drips { status: 200 }, Reaction::CutsOff { status: 200 }] {
        let receiver = Receiver::always(reaction);
        // Long enough for the head on a busy machine.
        let mut exporter = exporter(otlp::to(receiver.url()).timeout(SHORT * 10));
        exporter.intake().metrics(&one_gauge(1.0));
        assert_eq!(step(&mut exporter), Step::Tried);
        assert_eq!(step(&mut exporter), Step::Idle);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).unclear), (1, 1));
    }
    for reaction in [Reaction::Drips { status: 503 }, Reaction::CutsOff { status: 503 }] {
        let (exporter, _receiver) = after_one_attempt(reaction);
        assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
    }
}

#[test]
fn an_endless_answer_is_cut() {
    let body = vec![b'x'; 1 << 20];
    let (exporter, _receiver) =
        after_one_attempt(Reaction::with(400, &[("content-type", "text/html")], &body));
    assert!(last_error(&exporter).len() < 1_000);
    assert_eq!(exporter.health().report().lane(Metrics).refused, 1);
}

#[test]
fn a_strange_success_is_taken_and_said() {
    let strange = [
        Reaction::with(200, &[("content-type", "text/html")], b"<h1>It works!</h1>"),
        Reaction::with(200, &[("content-type", PROTOBUF)], b"\xff\xff\xff garbage"),
        Reaction::with(200, &[], b"ok"),
    ];
    for reaction in strange {
        let (mut exporter, _receiver) = after_one_attempt(reaction);
        assert_eq!(step(&mut exporter), Step::Idle);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).unclear), (1, 1));
        assert!(last_error(&exporter).contains("no OTLP"));
    }
}

#[test]
fn partial_success_is_counted_and_shown_in_the_receivers_words() {
    let metrics = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 1,
            error_message: "too old".into(),
        }),
    };
    let logs = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: i64::MAX,
            error_message: "disk full".into(),
        }),
    };
    let receiver = Receiver::start(move |_, request| {
        let body = match &*request.path {
            "/v1/logs" => logs.encode_to_vec(),
            _ => metrics.encode_to_vec(),
        };
        Reaction::with(200, &[("content-type", PROTOBUF)], &body)
    });
    let mut exporter = exporter(otlp::to(receiver.url()));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    assert!(last_error(&exporter).contains("too old"), "{}", last_error(&exporter));
    exporter.intake().alerts(&[transition(State::Pending, State::Firing)], DAY_ZERO);
    assert_eq!(step(&mut exporter), Step::Tried);
    assert!(last_error(&exporter).contains("disk full"), "{}", last_error(&exporter));
    assert_eq!(step(&mut exporter), Step::Idle, "never sent again");
    let report = exporter.health().report();
    assert_eq!(report.dropped(Metrics, Dropped::Rejected), 1);
    // A receiver cannot reject more than it got.
    assert_eq!(report.dropped(Alerts, Dropped::Rejected), 1);
    assert_eq!((report.lane(Metrics).sent_items, report.lane(Alerts).sent_items), (0, 0));
}

#[test]
fn alerts_overtake_metrics_and_neither_lane_stops_the_other() {
    let receiver = Receiver::start(|_, request| match &*request.path {
        "/v1/metrics" => Reaction::status(503),
        _ => Reaction::ok(),
    });
    let mut exporter = exporter(otlp::to(receiver.url()));
    exporter.intake().metrics(&one_gauge(1.0));
    exporter.intake().alerts(&[transition(State::Pending, State::Firing)], DAY_ZERO);
    assert_eq!(step(&mut exporter), Step::Tried);
    assert_eq!(step(&mut exporter), Step::Tried);
    let paths: Vec<_> = receiver.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/logs", "/v1/metrics"]);
    exporter.intake().alerts(&[transition(State::Firing, State::Inactive)], DAY_ZERO);
    assert_eq!(step(&mut exporter), Step::Tried, "though metrics have to wait");
    assert_eq!(exporter.health().report().lane(Alerts).sent, 2);
}

#[test]
fn a_request_that_always_fails_lets_the_others_pass() {
    let poison = one_gauge(666.0);
    let receiver = Receiver::start(|_, request| {
        let bytes = 666.0_f64.to_le_bytes();
        if request.body.windows(8).any(|window| window == bytes) {
            Reaction::status(503)
        } else {
            Reaction::ok()
        }
    });
    let mut exporter = exporter(otlp::to(receiver.url()));
    exporter.intake().metrics(&poison);
    for value in [1.0, 2.0, 3.0] {
        exporter.hurry();
        assert_eq!(step(&mut exporter), Step::Tried);
        exporter.intake().metrics(&one_gauge(value));
    }
    for _ in 0..5 {
        exporter.hurry();
        step(&mut exporter);
    }
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent, report.load.requests), (3, 1));
}

#[test]
fn the_deadline_bounds_the_attempt() {
    let receiver = Receiver::always(Reaction::NeverAnswers);
    let mut exporter = exporter(otlp::to(receiver.url()).timeout(Duration::from_secs(600)));
    exporter.intake().metrics(&one_gauge(1.0));
    let now = Instant::now();
    assert_eq!(exporter.send_next(now, now), Step::OutOfTime);
    assert!(receiver.received().is_empty());
    // Would take ten minutes if only the time-out counted.
    assert_eq!(exporter.send_next(now, now + SHORT), Step::Tried);
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
}

#[test]
fn an_attempt_can_be_interrupted_and_the_next_one_works() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reaction::NeverAnswers,
        _ => Reaction::ok(),
    });
    let mut exporter = exporter(otlp::to(receiver.url()).timeout(Duration::from_secs(600)));
    exporter.intake().metrics(&one_gauge(1.0));
    let interrupt = exporter.interrupt(Metrics);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            receiver.wait_for(1);
            interrupt.cut();
        });
        let now = Instant::now();
        assert_eq!(exporter.send_next(now, now + Duration::from_secs(600)), Step::Tried);
    });
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
    exporter.hurry();
    assert_eq!(step(&mut exporter), Step::Tried);
    assert_eq!(exporter.health().report().lane(Metrics).sent, 1);
}

#[test]
fn what_is_given_up_is_counted() {
    let mut exporter = exporter(otlp::to("http://127.0.0.1:9"));
    exporter.intake().metrics(&one_gauge(1.0));
    exporter.intake().alerts(&[transition(State::Pending, State::Firing)], DAY_ZERO);
    assert_eq!(exporter.health().report().load.requests, 2);
    assert_eq!(exporter.abandon(), 2);
    let report = exporter.health().report();
    assert_eq!(report.dropped(Metrics, Dropped::Shutdown), 1);
    assert_eq!(report.dropped(Alerts, Dropped::Shutdown), 1);
    assert_eq!(report.load, Load::default());
}

#[test]
fn headers_compression_and_paths_arrive_as_configured() {
    let receiver = Receiver::always(Reaction::ok());
    let config = otlp::to(format!("{}/base/", receiver.url()))
        .header("Authorization", "Bearer secret")
        .header("x-tenant", "shop");
    assert!(!format!("{config:?}").contains("secret"));
    let mut plain = exporter(
        otlp::to(receiver.url())
            .metrics_endpoint(format!("{}/own?x=1", receiver.url()))
            .compression(otlp::Compression::None),
    );
    let mut zipped = exporter(config);
    for exporter in [&mut zipped, &mut plain] {
        exporter.intake().metrics(&one_gauge(1.0));
        assert_eq!(step(exporter), Step::Tried);
    }
    let received = receiver.received();
    assert_eq!((&*received[0].path, &*received[1].path), ("/base/v1/metrics", "/own?x=1"));
    assert_eq!(received[0].headers["authorization"], "Bearer secret");
    assert_eq!(received[0].headers["x-tenant"], "shop");
    assert_eq!(received[0].headers["content-encoding"], "gzip");
    assert_eq!(received[0].headers["content-type"], PROTOBUF);
    assert!(received[0].headers["user-agent"].starts_with("highwater-OTLP-Exporter-Rust/"));
    assert!(!received[1].headers.contains_key("content-encoding"));
}

#[test]
fn connections_are_kept_alive() {
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()));
    for value in 0..3 {
        exporter.intake().metrics(&one_gauge(f64::from(value)));
        assert_eq!(step(&mut exporter), Step::Tried);
    }
    assert_eq!((receiver.received().len(), receiver.connections()), (3, 1));
}

#[test]
fn a_backlog_of_both_lanes_goes_at_twenty_requests_a_second_alerts_first_and_fresh_data_at_once() {
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()));
    for value in 0..60 {
        exporter.intake().metrics(&one_gauge(f64::from(value)));
        if value < 20 {
            exporter.intake().alerts(&[transition(State::Pending, State::Firing)], DAY_ZERO);
        }
    }
    // In told time, so that a busy machine changes nothing.
    let begin = Instant::now();
    let mut now = begin;
    let mut sent = Vec::new();
    loop {
        match exporter.send_next(now, now + LONG) {
            Step::Tried => sent.push(now - begin),
            Step::Wait(wait) => now += wait,
            Step::Idle => break,
            Step::OutOfTime => panic!("there was time"),
        }
    }
    assert_eq!(sent.len(), 80);
    // The last of each lane is no backlog: the metrics pushed last, and an alert that is alone.
    for (at, begun) in sent.iter().enumerate() {
        let second =
            sent[at..].iter().take_while(|later| **later < *begun + Duration::from_secs(1));
        assert!(second.count() <= 22, "at {begun:?}");
    }
    assert!(sent[79] >= Duration::from_millis(50 * 77), "{:?}", sent[79]);
    let paths: Vec<_> = receiver.received().into_iter().map(|request| request.path).collect();
    let alerts_done = paths.iter().rposition(|path| path == "/v1/logs").unwrap();
    assert!(alerts_done <= 21, "alerts first: the last is number {alerts_done}");
}
