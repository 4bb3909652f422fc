//! The same with a spool, and with disks that fail.

use std::fs;

use super::*;
use crate::transport::spool::{Durability, tests::Directory};

fn queue(directory: &Directory, bytes: u64) -> Queue {
    let durability = Durability::ProcessCrash;
    let directory = directory.0.clone();
    let disk = Some(DiskLimits { directory, bytes, durability });
    Queue::new(Limits { memory: 1 << 20, age: Duration::from_secs(1 << 40), disk })
}

fn parcel(number: u8, length: usize) -> Parcel {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
    let body = Arc::from(vec![number; length]);
    Parcel { at, items: 1, encoding: Encoding::Identity, body }
}

fn waiting(queue: &mut Queue, lane: Lane) -> Vec<u8> {
    let mut waiting = Vec::new();
    while let Next::Request(picked) = queue.pick(lane, Instant::now(), None) {
        queue.settle(lane, picked.id);
        waiting.push(picked.parcel.body[0]);
    }
    waiting
}

/// As if the pause were over.
fn pause_over(queue: &mut Queue) {
    let disk = queue.disk.as_mut().unwrap();
    assert!(disk.pause.is_some());
    disk.pause = Some(Instant::now());
}

#[test]
fn what_waited_is_there_after_a_restart_and_older_than_what_is_new() {
    let directory = Directory::new();
    let mut first = queue(&directory, 1 << 20);
    for number in [1, 2] {
        first.push(Lane::Metrics, parcel(number, 10));
        first.push(Lane::Alerts, parcel(number, 10));
    }
    drop(first);
    let mut second = queue(&directory, 1 << 20);
    second.push(Lane::Alerts, parcel(3, 10));
    second.recover();
    let note = Note::Recovered { requests: 4, damaged_bytes: 0 };
    assert_eq!(second.take_notes(), [note]);
    assert_eq!(waiting(&mut second, Lane::Alerts), [1, 2, 3]);
    assert_eq!(waiting(&mut second, Lane::Metrics), [1, 2]);
    second.recover();
    assert!(second.load(Lane::Metrics).requests == 0 && second.take_losses().is_empty());
}

#[test]
fn a_full_spool_drops_the_oldest_metrics_first_and_alerts_last() {
    let directory = Directory::new();
    let cap = 1 << 20;
    let mut queue = queue(&directory, cap);
    for number in 0..100 {
        queue.push(Lane::Alerts, parcel(number, 1_000));
        queue.push(Lane::Metrics, parcel(number, 20_000));
        assert!(queue.disk_bytes() <= cap);
    }
    let lost = queue.take_losses();
    assert!(lost.len() > 40 && lost.len() < 70, "{}", lost.len());
    assert!(lost.iter().all(|loss| (loss.lane, loss.why) == (Lane::Metrics, Dropped::QueueFull)));
    let lost = lost.len() as u8;
    assert_eq!(waiting(&mut queue, Lane::Alerts), (0..100).collect::<Vec<_>>());
    let metrics = waiting(&mut queue, Lane::Metrics);
    assert_eq!(metrics[0], 99, "the fresh one");
    assert_eq!(metrics[1..], (lost..99).collect::<Vec<_>>(), "the newest are kept");
    for number in 0..100 {
        queue.push(Lane::Alerts, parcel(number, 20_000));
        assert!(queue.disk_bytes() <= cap);
    }
    assert!(queue.take_losses().iter().all(|loss| loss.lane == Lane::Alerts));
}

#[test]
fn delivered_entries_make_room() {
    let directory = Directory::new();
    let mut queue = queue(&directory, 1 << 20);
    for number in 0..200 {
        queue.push(Lane::Metrics, parcel(number, 20_000));
        assert_eq!(waiting(&mut queue, Lane::Metrics), [number]);
    }
    assert_eq!(queue.take_losses(), []);
}

#[test]
fn a_disk_that_cannot_be_used_is_said_once_and_memory_serves() {
    let directory = Directory::new();
    // A file where the directory should be.
    fs::write(&directory.0, "").unwrap();
    let mut queue = queue(&directory, 1 << 20);
    queue.push(Lane::Alerts, parcel(1, 10));
    pause_over(&mut queue);
    queue.push(Lane::Alerts, parcel(2, 10));
    let notes = queue.take_notes();
    assert!(matches!(&notes[..], [Note::DiskFailed(_)]), "{notes:?}");
    fs::remove_file(&directory.0).unwrap();
    pause_over(&mut queue);
    queue.push(Lane::Alerts, parcel(3, 10));
    assert_eq!(queue.take_notes(), [Note::DiskBack]);
    assert_eq!(queue.memory, 0, "what waited in memory was moved");
    drop(queue);
    let mut next = self::queue(&directory, 1 << 20);
    next.recover();
    assert_eq!(waiting(&mut next, Lane::Alerts), [1, 2, 3]);
    let _ = fs::remove_file(&directory.0);
}

#[test]
fn a_disk_that_vanishes_loses_what_was_on_it_and_nothing_after() {
    let directory = Directory::new();
    let mut queue = queue(&directory, 1 << 20);
    queue.push(Lane::Alerts, parcel(1, 10));
    fs::remove_dir_all(&directory.0).unwrap();
    queue.push(Lane::Alerts, parcel(2, 10));
    assert!(matches!(&queue.take_notes()[..], [Note::DiskFailed(_)]));
    pause_over(&mut queue);
    queue.push(Lane::Alerts, parcel(3, 10));
    assert_eq!(queue.take_notes(), [Note::DiskBack]);
    assert_eq!(waiting(&mut queue, Lane::Alerts), [2, 3]);
    let lost = queue.take_losses();
    assert_eq!(
        lost.iter().map(|loss| (loss.why, loss.items)).collect::<Vec<_>>(),
        [(Dropped::Damaged, 1)]
    );
}

#[test]
fn a_full_disk_is_bridged_in_memory() {
    let directory = Directory::new();
    fs::create_dir_all(&directory.0).unwrap();
    let mount = |args: &[&str]| {
        let run = std::process::Command::new("mount").args(args).arg(&directory.0).output();
        run.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: a_full_disk_…: may not mount a small disk");
        return;
    }
    let mut queue = queue(&directory, 1 << 20);
    for number in 0..10 {
        queue.push(Lane::Metrics, parcel(number, 10_000));
    }
    assert!(matches!(&queue.take_notes()[..], [Note::DiskFailed(_)]));
    assert!(queue.memory >= 40_000);
    let mut all = waiting(&mut queue, Lane::Metrics);
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert_eq!(queue.take_losses(), []);
    // There is room again.
    pause_over(&mut queue);
    queue.push(Lane::Metrics, parcel(10, 10_000));
    assert_eq!(queue.take_notes(), [Note::DiskBack]);
    drop(queue);
    let umount = std::process::Command::new("umount").arg(&directory.0).status();
    assert!(umount.unwrap().success());
}

#[test]
fn what_cannot_be_read_at_present_is_kept_and_said_and_read_later() {
    // Root reads whatever its mode: a link to itself is what nobody can open.
    let directory = Directory::new();
    let mut queue = queue(&directory, 1 << 20);
    for number in [1, 2] {
        queue.push(Lane::Alerts, parcel(number, 10));
    }
    let file = fs::read_dir(directory.0.join("slot-00")).unwrap();
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|ext| ext == "seg");
    let file = file.map(|entry| entry.unwrap().path()).find(is_segment).unwrap();
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();

    let mut now = Instant::now();
    assert!(matches!(queue.pick(Lane::Alerts, now, None), Next::Wait(_)));
    let said = queue.disk_error().unwrap();
    assert!(said.contains("cannot be read"), "{said}");
    // Memory is not affected, and neither is anything lost while it lasts.
    now += Duration::from_secs(2);
    assert!(matches!(queue.pick(Lane::Alerts, now, None), Next::Wait(_)));
    assert!(matches!(&queue.take_notes()[..], [Note::DiskFailed(_)]));
    assert_eq!((queue.take_losses(), queue.load(Lane::Alerts).requests), (vec![], 2));

    fs::rename(&aside, &file).unwrap();
    now += Duration::from_secs(60);
    for number in [1, 2] {
        let Next::Request(picked) = queue.pick(Lane::Alerts, now, None) else { panic!() };
        assert_eq!((picked.parcel.body[0], queue.settle(Lane::Alerts, picked.id)), (number, 1));
    }
    assert_eq!(queue.disk_error(), None);
    assert_eq!(queue.take_notes(), [Note::DiskBack]);
}

#[test]
fn a_dead_process_segment_that_cannot_be_read_waits_counts_and_is_said() {
    let directory = Directory::new();
    let mut first = queue(&directory, 1 << 20);
    first.push(Lane::Alerts, parcel(1, 1_000));
    drop(first);
    let slot = directory.0.join("slot-00");
    let file = fs::read_dir(&slot).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.to_string_lossy().ends_with(".seg")).unwrap();
    let aside = directory.0.join("aside");
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();

    let mut second = queue(&directory, 1 << 20);
    second.recover();
    assert!(second.disk_error().unwrap().contains("earlier process"), "{:?}", second.disk_error());
    assert!(matches!(&second.take_notes()[..], [Note::DiskFailed(_)]));
    second.push(Lane::Alerts, parcel(2, 10));
    assert_eq!(second.memory, 0, "it can be written to");

    fs::remove_file(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    second.recover();
    assert_eq!(second.disk_error(), None);
    assert_eq!(waiting(&mut second, Lane::Alerts), [1, 2]);
}

#[test]
fn what_is_delivered_makes_room_before_anything_that_waits_is_dropped() {
    let directory = Directory::new();
    let mut queue = queue(&directory, 1 << 20);
    queue.push(Lane::Alerts, parcel(1, 10));
    // All of it in one file that is still written to.
    queue.push(Lane::Metrics, parcel(2, 900_000));
    assert_eq!(waiting(&mut queue, Lane::Metrics), [2]);
    queue.push(Lane::Metrics, parcel(3, 900_000));
    assert_eq!(queue.take_losses(), []);
    assert_eq!(waiting(&mut queue, Lane::Alerts), [1]);
}

#[test]
fn what_moves_to_the_disk_keeps_to_its_limit() {
    let directory = Directory::new();
    fs::write(&directory.0, "in the way").unwrap();
    let cap = 1 << 20;
    let durability = Durability::ProcessCrash;
    let disk = Some(DiskLimits { directory: directory.0.clone(), bytes: cap, durability });
    let age = Duration::from_secs(1 << 40);
    let mut queue = Queue::new(Limits { memory: 4 << 20, age, disk });
    for number in 0..20 {
        queue.push(Lane::Metrics, parcel(number, 100_000));
    }
    fs::remove_file(&directory.0).unwrap();
    pause_over(&mut queue);
    queue.push(Lane::Metrics, parcel(20, 100_000));
    assert!(queue.disk_bytes() <= cap && queue.disk_bytes() > cap / 2);
    assert_eq!(queue.take_losses(), []);
    assert_eq!(waiting(&mut queue, Lane::Metrics).len(), 21);
}

#[test]
fn nothing_on_disk_is_touched_before_there_is_something_for_it() {
    let directory = Directory::new();
    let queue = queue(&directory, 1 << 20);
    assert!(!directory.0.exists() && queue.disk_error().is_none());
}
