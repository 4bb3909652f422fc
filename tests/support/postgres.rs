//! A real PostgreSQL on a directory of its own, reached over a Unix socket in it (no port that somebody
//! else might take), killed when dropped. It refuses to run as root, so its programs run as `postgres` or `nobody`.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server with the database and the user `postgres`, and `pg_stat_statements`.
pub struct Postgres {
    child: Child,
    directory: PathBuf,
    programs: PathBuf,
}

impl Postgres {
    /// Without the server's programs the test is skipped, loudly; where
    /// `HIGHWATER_STACK_REQUIRED` is set, as in `.ci/run`, it fails instead.
    pub fn start(test: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
            assert!(!required, "{test} needs PostgreSQL's server: Debian's package `postgresql`");
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: there is no PostgreSQL server; Debian's package `postgresql` has it"
            );
            return None;
        };
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir()
            .join(format!("highwater-postgres-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        if is_root() {
            let owned = Command::new("chown").arg(user()).arg(&directory).status();
            assert!(owned.expect("chown").success());
        }
        let data = directory.join("data");
        let made = unprivileged(programs.join("initdb"))
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"])
            .args(["--locale=C", "-D"])
            .arg(&data)
            .current_dir(&directory)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let child = unprivileged(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", "5432", "-h", "", "-k"])
            .arg(&directory)
            // What a crash loses is of no interest here.
            .args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"])
            .args(["-c", "shared_preload_libraries=pg_stat_statements"])
            .args(["-c", "pg_stat_statements.track=all", "-c", "max_connections=200"])
            .args(["-c", "shared_buffers=32MB"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("log")).expect("a log"))
            .spawn()
            .expect("postgres");
        let server = Self { child, directory, programs };
        let give_up = Instant::now() + PATIENCE;
        while server.ask("SELECT 1").is_none_or(|one| one != "1") {
            assert!(Instant::now() < give_up, "PostgreSQL did not start: {}", server.log());
            thread::sleep(Duration::from_millis(50));
        }
        server.ask("CREATE EXTENSION pg_stat_statements").expect("the extension");
        Some(server)
    }

    pub fn url(&self) -> String {
        let socket = self.directory.to_str().expect("UTF-8").replace('/', "%2F");
        format!("postgres://postgres@{socket}/postgres")
    }

    /// Ends the connection of this backend.
    pub fn terminate(&self, backend: i32) {
        self.ask(&format!("SELECT pg_terminate_backend({backend})")).expect("an end");
    }

    /// Returns once somebody runs a statement like this one.
    pub fn until_runs(&self, like: &str) {
        let sql = format!(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '{like}' AND state = 'active' AND pid <> pg_backend_pid()"
        );
        let give_up = Instant::now() + PATIENCE;
        while self.ask(&sql).is_none_or(|found| found.is_empty()) {
            assert!(Instant::now() < give_up, "nobody ran {like}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `psql` answers, unaligned; `None` if it failed.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let answer = Command::new(self.programs.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url()])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        answer.status.success().then_some(text)
    }

    /// How often the server has run statements like this one, as it counts them.
    pub fn calls(&self, like: &str) -> u64 {
        let sql = format!(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '{like}'"
        );
        self.ask(&sql).and_then(|calls| calls.parse().ok()).expect("a count")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once: nobody needs the data any more. `setpriv` replaces itself, so the child is the
        // postmaster; it takes its own children along.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let give_up = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The directory with the newest server's programs.
fn programs() -> Option<PathBuf> {
    let whole = |at: &Path| ["initdb", "postgres", "psql"].iter().all(|p| at.join(p).is_file());
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.into_iter().rev().chain(std::env::split_paths(&path)).find(|at| whole(at))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

fn user() -> &'static str {
    let known = Command::new("id").arg("postgres").output().expect("id");
    if known.status.success() { "postgres" } else { "nobody" }
}

/// The program as somebody it agrees to run as.
fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user(), "--regid", group(), "--clear-groups", "--"]).arg(program);
    command
}

fn group() -> &'static str {
    if user() == "postgres" { "postgres" } else { "nogroup" }
}
