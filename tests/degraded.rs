//! Wherever a service runs, it starts: on a read-only root, without `/proc`, where no thread may be
//! started, under a seccomp profile, aborting on panic, forked. What is missing is said, the rest
//! works, and a shutdown keeps its deadline; without a runtime, in a current-thread one and in a
//! multi-thread one. Each is a child process that puts itself into the state first.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    io,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use highwater::{Highwater, ShutdownError, alert, export::otlp, rule};
use receiver::{Reaction, Receiver};

/// `STATE RUNTIME WELL-URL DEAF-URL DIRECTORY` for the child.
const CHILD: &str = "HIGHWATER_TEST_DEGRADED_CHILD";
const RUNTIMES: [&str; 3] = ["none", "current-thread", "multi-thread"];
/// What a child says where it may not put itself into the state.
const NOT_HERE: &str = "cannot be had here";
/// Nobody, and nobody else's either: how many processes it has is known.
const STRANGER: u32 = 54_321;

// The state, which is for the calling thread and those it starts.

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mount(what: &str, at: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let text = |text: &str| std::ffi::CString::new(text).unwrap();
    let (what, at, kind, data) = (text(what), text(at), text(kind), text(data));
    // SAFETY: four strings that outlive the call.
    checked(unsafe {
        libc::mount(what.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    })
}

/// Mounts of our own, which nobody else sees.
fn own_mounts() -> io::Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
}

fn become_stranger() -> io::Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { libc::setuid(STRANGER) })
}

fn limit_threads(soft: libc::rlim_t) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: 4_096 };
    // SAFETY: reads the limit, which outlives the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) })
}

/// Denies what a service can do without.
fn deny_the_optional() -> io::Result<()> {
    let denied = [
        libc::SYS_flock,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_getrandom,
        libc::SYS_sysinfo,
        libc::SYS_statfs,
        libc::SYS_mlock,
        libc::SYS_mlock2,
        libc::SYS_mlockall,
        libc::SYS_getrlimit,
        libc::SYS_prlimit64,
        libc::SYS_getrusage,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_setpriority,
        libc::SYS_uname,
        libc::SYS_prctl,
        libc::SYS_inotify_init1,
        libc::SYS_eventfd2,
        libc::SYS_epoll_create1,
        libc::SYS_ppoll,
        libc::SYS_timerfd_create,
        libc::SYS_memfd_create,
        libc::SYS_perf_event_open,
        libc::SYS_membarrier,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_ptrace,
    ];
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    // The first word of `seccomp_data` is the call's number.
    let mut filter = vec![statement(load, 0)];
    for call in denied {
        filter.push(libc::sock_filter { jf: 1, ..statement(equal, call as u32) });
        filter.push(statement(answer, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    filter.push(statement(answer, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and the filter it points to outlive the calls, which copy them.
    unsafe {
        checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        checked(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program))
    }
}

/// Asks a server for names that takes questions and answers none.
fn ask_nobody_for_names() -> io::Result<()> {
    own_mounts()?;
    let [.., high, low] = std::process::id().to_be_bytes();
    let server = std::net::Ipv4Addr::new(127, 77, high, low | 1);
    let silent = std::net::UdpSocket::bind((server, 53))?;
    std::mem::forget(silent);
    let file = std::env::temp_dir().join(format!("highwater-resolv-{}", std::process::id()));
    std::fs::write(&file, format!("nameserver {server}\noptions timeout:30 attempts:5\n"))?;
    let resolv = std::fs::canonicalize("/etc/resolv.conf")?;
    let result =
        mount(&file.to_string_lossy(), &resolv.to_string_lossy(), "none", libc::MS_BIND, "");
    _ = std::fs::remove_file(file);
    result
}

fn enter(state: &str) -> io::Result<()> {
    match state {
        "plain" | "forked" | "no_descriptors" => Ok(()),
        "read_only_root" => {
            own_mounts()?;
            mount("none", "/", "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "")
        }
        "others_hidden" => {
            own_mounts()?;
            mount("proc", "/proc", "proc", 0, "hidepid=2")?;
            become_stranger()
        }
        "no_proc" => {
            own_mounts()?;
            mount("none", "/proc", "tmpfs", 0, "")
        }
        "no_threads" => {
            limit_threads(1)?;
            become_stranger()
        }
        "seccomp" => deny_the_optional(),
        "no_names" => ask_nobody_for_names(),
        other => panic!("{other}"),
    }
}

// What is done in it.

fn start(url: &str, directory: &str) -> Highwater {
    let to = otlp::to(url).spool(otlp::spool(directory)).interval(Duration::from_millis(200));
    let builder = Highwater::builder("degraded")
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .sink(alert::to_fn(|_| ()))
        .export(to);
    // Each door has a thread of its own.
    #[cfg(feature = "alertmanager")]
    let builder = builder.sink(highwater::export::alertmanager::to([url]));
    #[cfg(feature = "webhook")]
    let builder = builder.sink(highwater::export::webhook::to(url));
    #[cfg(feature = "otel-sdk-0-33")]
    let builder = builder.export(highwater::export::sdk(
        &opentelemetry::metrics::noop::NoopMeterProvider::new(),
        &opentelemetry::logs::NoopLoggerProvider::new(),
    ));
    let hw = builder.start().unwrap();
    #[cfg(feature = "otel-api-0-33")]
    {
        use opentelemetry::metrics::MeterProvider as _;
        let meter = highwater::integrate::otel::meter_provider(&hw).meter("library");
        meter.u64_observable_gauge("ones").with_callback(|one| one.observe(1, &[])).build();
    }
    hw
}

/// Asserts that it keeps its deadline.
fn shut_down(hw: &Highwater, within: Duration) -> Result<(), ShutdownError> {
    let begun = Instant::now();
    let result = hw.shutdown(within);
    let took = begun.elapsed();
    // The machine may be busy, but a deadline that is ignored takes longer than that.
    assert!(took < within + Duration::from_secs(4), "{took:?} of {within:?}");
    result
}

fn works(well: &str, deaf: &str, directory: &str) {
    let hw = start(well, directory);
    let query = hw.query("orders").system("sqlite").build();
    query.time(|| ());
    hw.gauge("depth").build().set(3.0);
    let deep = hw.alert("Deep").unwrap();
    stack::eventually("the alert", || deep.is_firing().then_some(()));
    stack::eventually("a push", || hw.health().delivery.filter(|delivery| delivery.sent > 1));
    println!("{}", hw.health());
    shut_down(&hw, Duration::from_secs(20)).unwrap();

    let hw = start(deaf, directory);
    stack::eventually("a round", || hw.health().last_tick);
    // Kept or lost, but in time.
    _ = shut_down(&hw, Duration::from_secs(1));
}

fn waits_for_threads(well: &str, directory: &str) {
    let hw = start(well, directory);
    hw.gauge("depth").build().set(3.0);
    let health = hw.health();
    assert!(
        health.problems.iter().any(|problem| problem.contains("cannot be started")),
        "{health}"
    );
    let result = shut_down(&hw, Duration::from_secs(1));
    assert_eq!(result, Err(ShutdownError::NotStarted { thread: "highwater" }));

    let hw = start(well, directory);
    hw.gauge("depth").build().set(3.0);
    println!("{}", hw.health());
    limit_threads(4_096).unwrap();
    // Asked how it fares, it tries again after a while.
    stack::eventually("a push after all", || {
        hw.health().delivery.filter(|delivery| delivery.sent > 1)
    });
    assert!(hw.health().problems.is_empty(), "{}", hw.health());
    shut_down(&hw, Duration::from_secs(20)).unwrap();
}

fn forks(well: &str, deaf: &str, directory: &str) {
    let hw = start(well, directory);
    stack::eventually("a round", || hw.health().last_tick);
    // SAFETY: the child uses its own instances only, and ends without running destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            hw.gauge("depth").build().set(3.0);
            hw.query("orders").build().time(|| ());
            let health = hw.health();
            assert!(health.to_string().contains("forked"), "{health}");
            assert_eq!(shut_down(&hw, Duration::from_secs(5)), Err(ShutdownError::Forked));
            works(well, deaf, directory);
        }));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: writes to `status`.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "what was forked failed");
    assert!(hw.health().problems.is_empty(), "{}", hw.health());
    shut_down(&hw, Duration::from_secs(20)).unwrap();
}

/// A receiver whose name nobody resolves.
fn finds_nobody(directory: &str) {
    let hw = start("http://collector.example:4318", directory);
    let waits = || hw.health().delivery.filter(|delivery| delivery.queued > 2);
    stack::eventually("a backlog behind a look-up that hangs", waits);
    assert_eq!(hw.health().delivery.map(|delivery| delivery.retried), Some(0), "it still hangs");
    // All of it is in the spool: nothing is lost.
    shut_down(&hw, Duration::from_secs(1)).unwrap();
}

fn limit_descriptors(soft: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: 1_024 };
    // SAFETY: reads the limit, which outlives the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).unwrap();
}

/// What is in the spool cannot be opened for a while.
fn runs_out_of_descriptors(directory: &str) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::start(move |_, _| match is_well.load(Ordering::Relaxed) {
        true => Reaction::ok(),
        false => Reaction::status(503),
    });
    let hw = start(&receiver.url(), directory);
    hw.gauge("depth").build().set(3.0);
    let delivery = || hw.health().delivery;
    let lost = || {
        let all = delivery().map_or_else(Vec::new, |delivery| delivery.dropped);
        // Whether a busy machine is in time for each interval is its own business.
        all.into_iter()
            .filter(|(why, lost)| *lost > 0 && *why != "export_interval")
            .collect::<Vec<_>>()
    };
    let nothing: Vec<(&str, u64)> = Vec::new();
    stack::eventually("a backlog", || delivery().filter(|delivery| delivery.queued > 3));
    limit_descriptors(3);
    let says = |words: &str| hw.health().problems.iter().any(|problem| problem.contains(words));
    stack::eventually("that it cannot be read", || says("cannot be read").then_some(()));
    assert_eq!(nothing, lost());
    println!("{}", hw.health());
    limit_descriptors(1_024);
    well.store(true, Ordering::Relaxed);
    let before = receiver.received().len();
    stack::eventually("the backlog to be gone", || {
        delivery().filter(|delivery| delivery.queued == 0 && delivery.sent > 3)
    });
    shut_down(&hw, Duration::from_secs(60)).unwrap();
    assert_eq!(nothing, lost());
    let received = receiver.received();
    let mut logs = received[before..].iter().filter(|got| got.path == "/v1/logs");
    assert!(logs.any(|got| format!("{:?}", got.logs()).contains("\"Deep\"")), "the alert");
}

fn scenario(state: &str, well: &str, deaf: &str, directory: &str) {
    if let Err(why) = enter(state) {
        println!("{NOT_HERE}: {why}");
        return;
    }
    match state {
        "no_threads" => waits_for_threads(well, directory),
        "forked" => forks(well, deaf, directory),
        "no_names" => finds_nobody(directory),
        "no_descriptors" => runs_out_of_descriptors(directory),
        _ => works(well, deaf, directory),
    }
    println!("went well");
}

/// What is said to the log is said.
struct Said;

impl log::Log for Said {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Not a test: what the child runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    log::set_logger(&Said).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let arguments: Vec<_> = arguments.split(' ').collect();
    let [state, runtime, well, deaf, directory] = *arguments else { panic!("{arguments:?}") };
    let run = || scenario(state, well, deaf, directory);
    // Before the state, as its threads would be refused too.
    match runtime {
        "none" => run(),
        "current-thread" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async { run() });
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.unwrap().block_on(async { run() });
        }
    }
}

// The tests.

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What the children of a state said, under each kind of runtime; none where it cannot be had.
fn in_state(state: &str) -> Vec<String> {
    let well = Receiver::always(Reaction::ok());
    let deaf = Receiver::always(Reaction::NeverAnswers);
    let run = |runtime: &str| {
        let directory = stack::Directory::new(&format!("degraded-{state}-{runtime}"));
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&directory.0, everyone).unwrap();
        let spool = directory.0.join("spool");
        let arguments =
            format!("{state} {runtime} {} {} {}", well.url(), deaf.url(), spool.display());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, arguments)
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{state}, {runtime}: {said}");
        if said.contains(NOT_HERE) {
            println!("SKIPPED: {state}, {runtime}: {said}");
            return None;
        }
        assert!(said.contains("went well"), "{state}, {runtime}: {said}");
        Some(said)
    };
    thread::scope(|scope| {
        let children = RUNTIMES.map(|runtime| scope.spawn(move || run(runtime)));
        children.into_iter().filter_map(|child| child.join().unwrap()).collect()
    })
}

#[test]
fn where_nothing_is_missing() {
    for said in in_state("plain") {
        assert!(!said.contains("problem:"), "{said}");
    }
}

#[test]
fn on_a_read_only_root() {
    for said in in_state("read_only_root") {
        assert!(said.contains("problem: requests wait in memory only"), "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
    }
}

#[test]
fn where_the_proc_of_others_is_hidden() {
    // Nothing is missing: what it reads of processes is of itself.
    for said in in_state("others_hidden") {
        assert!(!said.contains("problem:") && !said.contains("sampler \"process\" is"), "{said}");
    }
}

#[test]
fn without_proc() {
    // Not to be had here is no problem, and is said.
    for said in in_state("no_proc") {
        for sampler in ["process", "system"] {
            assert!(said.contains(&format!("sampler {sampler:?} is unsupported")), "{said}");
        }
        assert!(!said.contains("problem:"), "{said}");
    }
}

#[test]
fn where_no_thread_may_be_started() {
    for said in in_state("no_threads") {
        assert!(said.contains("problem: the thread \"highwater\" cannot be started"), "{said}");
    }
}

#[test]
fn under_a_seccomp_profile_that_denies_the_optional() {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for said in in_state("seccomp") {
        assert!(said.contains("problem: requests wait in memory only"), "{said}");
        // Nothing wakes it that needs an eventfd.
        let polls = said.contains("polls memory, not woken by");
        assert!(polls || !groups.contains(":memory:"), "{said}");
    }
}

#[test]
fn where_descriptors_run_out_during_an_outage() {
    for said in in_state("no_descriptors") {
        assert!(said.contains("problem: kept requests cannot be read"), "{said}");
    }
}

#[test]
fn where_looking_up_a_name_hangs() {
    in_state("no_names");
}

#[test]
fn in_a_forked_process() {
    in_state("forked");
}

/// A service of its own, as the library's panics would be caught in a test.
const ABORTING: &str = r#"
use std::time::{Duration, Instant};
fn main() {
    let url = std::env::args().nth(1).unwrap();
    let to = highwater::export::otlp::to(url).interval(Duration::from_millis(200));
    let hw = highwater::Highwater::builder("aborting")
        .tick(Duration::from_millis(100))
        .sample(highwater::sample::gauge("queue.depth", || 42.0))
        .export(to)
        .start()
        .unwrap();
    let begun = Instant::now();
    while hw.health().delivery.is_none_or(|delivery| delivery.sent == 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", hw.health());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{}", hw.health());
    hw.shutdown(Duration::from_secs(20)).unwrap();

    let deaf = std::env::args().nth(2).unwrap();
    let to = highwater::export::otlp::to(deaf)
        .interval(Duration::from_millis(200))
        .timeout(Duration::from_secs(600));
    let hw = highwater::Highwater::builder("aborting")
        .tick(Duration::from_millis(100))
        .export(to)
        .start()
        .unwrap();
    let begun = Instant::now();
    while hw.health().delivery.is_none_or(|delivery| delivery.queued == 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", hw.health());
        std::thread::sleep(Duration::from_millis(20));
    }
    let begun = Instant::now();
    let result = hw.shutdown(Duration::from_secs(1));
    println!("deaf: {result:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(cfg!(panic = "abort"));
}
"#;

/// The library this test was built with.
fn library(beside: &Path) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(beside).ok()?.flatten().map(|file| file.path());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let ours = |path: &std::path::PathBuf| {
        name(path).is_some_and(|name| name.starts_with("libhighwater-") && name.ends_with(".rlib"))
    };
    files.filter(ours).max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
}

#[test]
fn where_a_panic_aborts() {
    let directory = stack::Directory::new("degraded-abort");
    let executable = std::env::current_exe().unwrap();
    let beside = executable.parent().unwrap();
    let library = library(beside).expect("the library beside its test");
    let (source, binary) = (directory.0.join("aborting.rs"), directory.0.join("aborting"));
    std::fs::write(&source, ABORTING).unwrap();
    let compiled = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()))
        .args(["--edition", "2024", "-C", "panic=abort", "--extern"])
        .arg(format!("highwater={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", beside.display()))
        .arg("-o")
        .arg(&binary)
        .arg(&source)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", said(&compiled));
    let well = Receiver::always(Reaction::ok());
    let deaf = Receiver::always(Reaction::NeverAnswers);
    let output = Command::new(&binary).args([well.url(), deaf.url()]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("deaf: Err("), "{}", said(&output));
    assert!(!said(&output).contains("problem:"), "{}", said(&output));
}
