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
        let line = self.ask(format_args!("{}", span.as_millis()));
        let figures: Vec<f64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [count, elapsed, p99, spent] = figures[..] else { panic!("{line}") };
        Run { throughput: count / elapsed, p99, cpu: spent / count }
    }

    fn ask(&mut self, what: std::fmt::Arguments<'_>) -> String {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
        self.line()
    }

    /// What the server has spent so far.
    pub(crate) fn processor_time(&mut self) -> f64 {
        self.ask(format_args!("")).parse().unwrap()
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

/// Processor seconds of all this process' threads, of those that have ended too.
pub(crate) fn spent() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9
}

pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}
