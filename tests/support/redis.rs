//! A real Redis on a directory of its own, reached over a Unix socket in it, killed when dropped.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Redis {
    child: Child,
    directory: PathBuf,
}

impl Redis {
    /// Without the server's program the test is skipped, loudly; where `HIGHWATER_STACK_REQUIRED`
    /// is set, as in `.ci/run`, it fails instead.
    pub fn start(test: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|at| at.join("redis-server"));
        let Some(program) = program.into_iter().find(|at| at.is_file()) else {
            let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
            assert!(!required, "{test} needs Redis: Debian's package `redis-server`");
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: there is no redis-server; Debian's package of that name has it"
            );
            return None;
        };
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("highwater-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"])
            .arg(directory.join("socket"))
            .arg("--dir")
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server");
        let server = Self { child, directory };
        let give_up = Instant::now() + PATIENCE;
        while server.ask("PING").is_none_or(|answer| answer != "+PONG\r\n") {
            assert!(Instant::now() < give_up, "Redis did not start");
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.join("socket").display())
    }

    /// What it answers to a line, as far as it comes at once.
    pub fn ask(&self, line: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.directory.join("socket")).ok()?;
        stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 65536];
        let read = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    /// How often the server has run this command, and how often it refused it, as it counts them.
    pub fn calls(&self, command: &str) -> (u64, u64) {
        let stats = self.ask("INFO commandstats").expect("figures");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
        let field = |name: &str| {
            let fields = line.into_iter().flat_map(|line| line.trim().split(','));
            fields.filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name)
        };
        let number = |name| field(name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        (number("calls"), number("rejected_calls") + number("failed_calls"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
