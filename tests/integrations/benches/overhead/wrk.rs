//! The load on the server: Debian's wrk.

use std::{path::PathBuf, process::Command, time::Duration};

use super::{child::Child, pairs::Run};

const CONNECTIONS: &str = "16";

pub(crate) struct Wrk(PathBuf);

pub(crate) fn find() -> Option<Wrk> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|at| at.join("wrk")).find(|at| at.is_file()).map(Wrk)
}

impl Wrk {
    pub(crate) fn load(&self, server: &Child, span: Duration) -> Run {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/overhead/orders.lua");
        let before = server.processor_time();
        let ran = Command::new(&self.0)
            .args(["-t1", "-c", CONNECTIONS, "-d", &format!("{}s", span.as_secs()), "-s", script])
            .arg(format!("http://{}", server.greeting))
            .output()
            .unwrap();
        let spent = server.processor_time() - before;
        let text = String::from_utf8_lossy(&ran.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("FIGURES "));
        let figures =
            line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&ran.stderr)));
        let figures: Vec<f64> = figures.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [count, micros, p99, errors] = figures[..] else { panic!("{text}") };
        assert_eq!(errors, 0.0, "{text}");
        Run { throughput: count / micros * 1e6, p99: p99 * 1e-6, cpu: spent / count }
    }
}
