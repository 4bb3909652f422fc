//! The side that is measured, in a process of its own: ends with its parent.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use highwater::{Highwater, alert, export::otlp, sample};

use super::{pairs::Run, server, transactions};

pub(crate) struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) greeting: String,
}

impl Child {
    pub(crate) fn start(what: &str, database: Option<&str>, push: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--child", what]).stdin(Stdio::piped()).stdout(Stdio::piped());
        for (flag, value) in [("--database", database), ("--push", push)] {
            command.args(value.map(|value| [flag, value]).into_iter().flatten());
        }
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let input = process.stdin.take();
        let mut child = Self { process, input, output, greeting: String::new() };
        child.greeting = child.line();
        child
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the child ended");
        line.trim().to_owned()
    }

    /// Has it do its transactions for a while.
    pub(crate) fn run(&mut self, span: Duration) -> Run {
        let before = self.processor_time();
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{}", span.as_millis()).unwrap();
        let line = self.line();
        let spent = self.processor_time() - before;
        let figures: Vec<f64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [count, elapsed, p99] = figures[..] else { panic!("{line}") };
        Run { throughput: count / elapsed, p99, cpu: spent / count }
    }

    /// Processor time of all its threads, as the scheduler counts it.
    pub(crate) fn processor_time(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let ran = |task: std::fs::DirEntry| -> Option<u64> {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        tasks.flatten().filter_map(ran).sum::<u64>() as f64 * 1e-9
    }

    pub(crate) fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// The child's main.
pub(crate) fn be(what: &str, database: Option<&str>, push: Option<&str>) {
    let hw = push.map(|endpoint| {
        Highwater::builder("overhead")
            .sample(sample::pressure())
            .sink(alert::to_log())
            .export(otlp::to(endpoint).interval(Duration::from_secs(1)))
            .start()
            .unwrap()
    });
    match (what, database) {
        ("server", Some(database)) => server::serve(database, hw.as_ref()),
        ("sqlx", Some(database)) => transactions::sqlx(database, hw.as_ref()),
        ("rusqlite", _) => transactions::rusqlite(hw.as_ref()),
        _ => panic!("no such child: {what}"),
    }
}

pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}
