//! Order and bounds, in memory.

use super::*;

fn queue(memory: usize) -> Queue {
    Queue::new(Limits { memory, age: Duration::from_secs(100), disk: None })
}

fn parcel(number: u8) -> Parcel {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
    Parcel { at, items: 1, encoding: Encoding::Identity, body: Arc::from([number; 10]) }
}

fn lost(queue: &mut Queue) -> Vec<(Lane, Dropped)> {
    queue.take_losses().into_iter().map(|loss| (loss.lane, loss.why)).collect()
}

/// Requests and bytes.
fn loads(queue: &Queue) -> (u64, u64) {
    let loads = Lane::ALL.map(|lane| queue.load(lane));
    (loads.iter().map(|load| load.requests).sum(), loads.iter().map(|load| load.bytes).sum())
}

fn pick(queue: &mut Queue, lane: Lane) -> Option<Picked> {
    match queue.pick(lane, Instant::now(), None) {
        Next::Request(picked) => Some(picked),
        Next::Nothing => None,
        Next::Wait(wait) => panic!("{wait:?}"),
    }
}

fn take(queue: &mut Queue, lane: Lane) -> u8 {
    let picked = pick(queue, lane).unwrap();
    assert_eq!(queue.settle(lane, picked.id), 1);
    picked.parcel.body[0]
}

#[test]
fn the_oldest_metrics_are_dropped_first_and_alerts_last() {
    let mut queue = queue(30);
    queue.push(Lane::Alerts, parcel(1));
    queue.push(Lane::Metrics, parcel(2));
    queue.push(Lane::Metrics, parcel(3));
    assert_eq!(lost(&mut queue), []);
    queue.push(Lane::Alerts, parcel(4));
    queue.push(Lane::Alerts, parcel(5));
    queue.push(Lane::Metrics, parcel(6));
    assert_eq!(lost(&mut queue), [(Lane::Metrics, Dropped::QueueFull); 3]);
    queue.push(Lane::Alerts, parcel(7));
    assert_eq!(lost(&mut queue), [(Lane::Alerts, Dropped::QueueFull)]);
    assert_eq!(loads(&queue), (3, 30));
    assert_eq!(take(&mut queue, Lane::Alerts), 4);
}

#[test]
fn a_parcel_larger_than_the_queue_goes_itself() {
    let mut queue = queue(5);
    queue.push(Lane::Alerts, parcel(1));
    assert_eq!(lost(&mut queue), [(Lane::Alerts, Dropped::QueueFull)]);
    assert_eq!(loads(&queue), (0, 0));
}

#[test]
fn what_has_waited_too_long_is_dropped() {
    let mut queue = queue(1_000);
    queue.push(Lane::Alerts, parcel(1));
    queue.push(Lane::Metrics, parcel(2));
    queue.push(Lane::Metrics, parcel(102));
    let expired = (Lane::Alerts, Dropped::Expired);
    assert_eq!(lost(&mut queue), [expired], "a hundred seconds are allowed");
    queue.push(Lane::Metrics, parcel(103));
    assert_eq!(lost(&mut queue), [(Lane::Metrics, Dropped::Expired)]);
}

#[test]
fn fresh_metrics_come_before_the_backlog_and_the_backlog_oldest_first() {
    let mut queue = queue(1_000);
    for number in 1..=4 {
        queue.push(Lane::Metrics, parcel(number));
    }
    assert!(pick(&mut queue, Lane::Metrics).unwrap().is_fresh);
    let order: Vec<_> = (0..4).map(|_| take(&mut queue, Lane::Metrics)).collect();
    assert_eq!(order, [4, 1, 2, 3]);
}

#[test]
fn alerts_keep_their_order() {
    let mut queue = queue(1_000);
    for number in 1..=3 {
        queue.push(Lane::Alerts, parcel(number));
    }
    let order: Vec<_> = (0..3).map(|_| take(&mut queue, Lane::Alerts)).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn what_always_fails_lets_the_others_pass() {
    for lane in Lane::ALL {
        let mut queue = queue(1_000);
        queue.push(lane, parcel(1));
        let poisoned = pick(&mut queue, lane).unwrap().id;
        queue.failed(lane, poisoned, Instant::now());
        queue.push(lane, parcel(2));
        assert_eq!(take(&mut queue, lane), 2);
        assert_eq!(take(&mut queue, lane), 1, "and is tried again");
    }
}

#[test]
fn what_fails_while_others_are_taken_is_tried_ever_more_seldom_and_an_outage_blames_nobody() {
    let mut queue = queue(1_000_000);
    let mut now = Instant::now();
    queue.push(Lane::Metrics, parcel(1));
    // An outage: however often it fails, it may be tried at once.
    let poisoned = pick(&mut queue, Lane::Metrics).unwrap().id;
    for _ in 0..10 {
        queue.failed(Lane::Metrics, poisoned, now);
        let Next::Request(again) = queue.pick(Lane::Metrics, now, None) else { panic!("it waits") };
        assert_eq!(again.id, poisoned);
    }
    // A day in which others are taken, six a minute.
    let (begin, mut tried) = (now, 0);
    while now < begin + Duration::from_secs(24 * 3_600) {
        queue.push(Lane::Metrics, Parcel { at: SystemTime::UNIX_EPOCH, ..parcel(2) });
        while let Next::Request(picked) = queue.pick(Lane::Metrics, now, None) {
            if picked.id == poisoned {
                queue.failed(Lane::Metrics, poisoned, now);
                tried += 1;
            } else {
                queue.settle(Lane::Metrics, picked.id);
            }
        }
        now += Duration::from_secs(10);
    }
    assert!((100..180).contains(&tried), "{tried} times");
    assert!(matches!(queue.pick(Lane::Metrics, now, None), Next::Wait(_)));
    queue.hurry();
    assert_eq!(pick(&mut queue, Lane::Metrics).unwrap().id, poisoned, "once more at the end");
}

#[test]
fn a_backlog_is_paced_and_what_is_fresh_is_not() {
    let mut queue = queue(1_000);
    let now = Instant::now();
    let (pace, paced) = (Duration::from_millis(50), Some(now + Duration::from_millis(50)));
    for number in 1..=2 {
        queue.push(Lane::Metrics, parcel(number));
        queue.push(Lane::Alerts, parcel(number));
    }
    let Next::Request(fresh) = queue.pick(Lane::Metrics, now, paced) else { panic!() };
    assert_eq!((fresh.is_fresh, fresh.parcel.body[0]), (true, 2));
    queue.settle(Lane::Metrics, fresh.id);
    assert_eq!(queue.pick(Lane::Metrics, now, paced), Next::Wait(pace));
    assert_eq!(queue.pick(Lane::Alerts, now, paced), Next::Wait(pace), "alerts keep their order");
    assert_eq!(take(&mut queue, Lane::Alerts), 1);
    let Next::Request(only) = queue.pick(Lane::Alerts, now, paced) else { panic!() };
    assert!(only.is_fresh, "one alert is no backlog");
}

#[test]
fn what_is_dated_in_the_future_keeps_nothing_else_from_expiring() {
    let mut queue = queue(1_000);
    queue.push(Lane::Metrics, parcel(200));
    queue.push(Lane::Metrics, parcel(1));
    queue.push(Lane::Metrics, parcel(102));
    assert_eq!(lost(&mut queue), [(Lane::Metrics, Dropped::Expired)]);
    assert_eq!(loads(&queue), (2, 20));
}
