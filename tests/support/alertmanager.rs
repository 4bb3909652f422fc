//! A real Alertmanager.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::stack::{self, Server};

pub struct Alertmanager {
    _server: Server,
    pub port: u16,
}

impl Alertmanager {
    /// With a webhook behind it, if any, that is told at once, and again each second.
    pub fn start(test: &str, webhook: Option<&str>) -> Option<Self> {
        let binary = stack::find(test, "alertmanager")?;
        let start = |directory: &Path, [port]: [u16; 1]| {
            let hook = webhook.map_or(String::new(), |url| {
                format!(", webhook_configs: [{{url: '{url}/', send_resolved: true}}]")
            });
            let config = format!(
                "route: {{receiver: hook, group_by: ['...'], group_wait: 100ms, group_interval: 500ms, repeat_interval: 1s}}\n\
                 receivers: [{{name: hook{hook}}}]\n"
            );
            std::fs::write(directory.join("am.yml"), config).unwrap();
            let mut command = Command::new(&binary);
            command
                .arg(format!("--config.file={}", directory.join("am.yml").display()))
                .arg(format!("--storage.path={}", directory.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--cluster.listen-address=");
            command
        };
        let ready = |[port]: [u16; 1]| stack::answers(port, "/-/ready");
        let (server, [port]) = Server::on_ports("alertmanager", start, ready);
        Some(Self { _server: server, port })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All it knows, those that have ended too if they are not forgotten.
    pub fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url());
        let text = stack::agent().get(url).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
    }
}
