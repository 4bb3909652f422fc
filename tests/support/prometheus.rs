//! Prometheus and what it reads: a page served to it, its answers.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::Arc,
    thread,
};

use crate::stack::{self, Server};

/// A route of the service's own, as small as can be: whatever is asked, the page is the answer.
pub struct Route {
    pub address: SocketAddr,
}

impl Route {
    pub fn serve(
        content_type: &'static str,
        page: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let page = Arc::new(page);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), page) = (stream, page.clone()) else { continue };
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                        line.clear();
                    }
                    let body = page();
                    let length = body.len();
                    _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    );
                });
            }
        });
        Self { address }
    }
}

/// A real Prometheus.
pub struct Prometheus {
    pub server: Server,
    port: u16,
}

/// What it does.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The text of a rule file.
    pub rules: &'a str,
    pub scrape: &'a str,
    pub evaluation: &'a str,
    pub job: &'a str,
    /// Else the target's address.
    pub instance: Option<&'a str>,
    pub alertmanager: Option<u16>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            rules: "groups: []\n",
            scrape: "200ms",
            evaluation: "200ms",
            job: "shop",
            instance: None,
            alertmanager: None,
        }
    }
}

impl Prometheus {
    /// Scrapes `target` every 200 ms.
    pub fn start(test: &str, target: SocketAddr) -> Option<Self> {
        Self::start_as(test, target, Setup::default())
    }

    pub fn start_as(test: &str, target: SocketAddr, setup: Setup<'_>) -> Option<Self> {
        let binary = stack::find(test, "prometheus")?;
        let Setup { rules, scrape, evaluation, job, instance, alertmanager } = setup;
        let start = |directory: &Path, [port]: [u16; 1]| {
            std::fs::write(directory.join("rules.yml"), rules).unwrap();
            let instance = instance.map(|name| format!(", labels: {{instance: '{name}'}}"));
            let instance = instance.unwrap_or_default();
            let mut config = format!(
                "global: {{scrape_interval: {scrape}, scrape_timeout: {scrape}, evaluation_interval: {evaluation}}}\n\
                 rule_files: [rules.yml]\n\
                 scrape_configs:\n\
                 - {{job_name: '{job}', static_configs: [{{targets: ['{target}']{instance}}}]}}\n"
            );
            if let Some(port) = alertmanager {
                config += &format!(
                    "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}\n"
                );
            }
            std::fs::write(directory.join("prometheus.yml"), config).unwrap();
            let mut command = Command::new(&binary);
            command
                .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--enable-feature=exemplar-storage");
            command
        };
        let ready = |[port]: [u16; 1]| stack::answers(port, "/-/ready");
        let (server, [port]) = Server::on_ports("prometheus", start, ready);
        Some(Self { server, port })
    }

    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = stack::agent().get(url).query_pairs(query.iter().copied());
        request.call().ok()?.body_mut().read_to_string().ok()
    }

    /// An instant query now: labels and value of each series.
    pub fn query(&self, promql: &str) -> Vec<(serde_json::Value, f64)> {
        let answer = self.get("/api/v1/query", &[("query", promql)]).expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        let result = answer["data"]["result"].as_array().expect("a vector").clone();
        let sample = |series: serde_json::Value| {
            let value = series["value"][1].as_str().expect("a value").parse().expect("a number");
            (series["metric"].clone(), value)
        };
        result.into_iter().map(sample).collect()
    }

    /// The only series of a query, once there is one.
    pub fn one(&self, promql: &str) -> f64 {
        stack::eventually(promql, || match self.query(promql).as_slice() {
            [] => None,
            [(_, value)] => Some(*value),
            more => panic!("{promql}: {more:?}"),
        })
    }
}

/// What Python's own client makes of a page: `NAME{LABELS} VALUE` lines. `None`, said aloud,
/// without that client.
pub fn parsed_by_python(test: &str, page: &str) -> Option<String> {
    let path = stack::tools().unwrap_or_default().join("python");
    let python = |code: &str| {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &path).env("PYTHONIOENCODING", "utf-8").arg("-c").arg(code);
        command
    };
    let found = python("import prometheus_client").output().is_ok_and(|out| out.status.success());
    if !found {
        let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
        assert!(!required, "{test} needs Python's prometheus_client: run tests/stack/fetch.sh");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: there is no Python with prometheus_client; tests/stack/fetch.sh fetches it"
        );
        return None;
    }
    let directory = stack::Directory::new("page");
    let file = directory.0.join("page.txt");
    std::fs::write(&file, page).unwrap();
    let code = format!(
        "from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
         for f in parse(open({:?}, newline='', encoding='utf-8').read()):\n\
         \x20 for s in f.samples:\n\
         \x20   more = [sorted(s.exemplar.labels.items()), s.exemplar.value] if s.exemplar else []\n\
         \x20   print(f.type, s.name, sorted(s.labels.items()), s.value, *more)",
        file.display().to_string()
    );
    let out = python(&code).output().expect("python3");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "refused: {errors}\n{page}");
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}
