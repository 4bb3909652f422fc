//! A webhook: each alert that fires or ends as a JSON body of your shape, to an address of yours.
//!
//! Each address has a thread of its own while something waits for it. What cannot be delivered is
//! tried again, in order, for an hour; requests carry an id that stays the same from attempt to
//! attempt, so a receiver can tell a repetition.
//!
//! ```
//! use highwater::{Highwater, alert::Severity, export::webhook};
//!
//! let hw = Highwater::builder("shop")
//!     .sink(webhook::to("http://127.0.0.1:8080/alerts")
//!         .route(Severity::Critical, "http://127.0.0.1:8080/page")
//!         .template(r#"{"text": "{{ alertname }} is {{ state }}: {{ summary }}"}"#)
//!         .sign_with("a secret both ends know"))
//!     .start()?;
//! # Ok::<(), highwater::Error>(())
//! ```

mod hook;
mod template;

use std::{
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use self::{
    hook::{Hook, Plan},
    template::Template,
};
use super::{
    otlp::{self, endpoint::Path},
    outbox::Outbox,
    receiver::{self, Line, Manner},
};
use crate::{
    alert::{Habits, Left, Remote, Retrier, Severity, Sink, Speaker},
    event::Transition,
    name::Labels,
    semconv,
    sync::Arc,
};

/// As `HIGHWATER_SINKS` and the self-metrics name it.
const NAME: &str = "webhook";
const THREAD: &str = "highwater-hook";

/// Posts alerts to `url`; for [`Builder::sink`](crate::Builder::sink).
///
/// `https://` needs the feature `tls`. Mistakes are reported when the instance is started.
pub fn to(url: impl Into<String>) -> Config {
    Config {
        url: url.into(),
        routes: Vec::new(),
        at_least: Severity::Info,
        template: template::DEFAULT.to_owned(),
        secret: None,
        manner: Manner::default(),
    }
}

/// How alerts are posted; from [`to`].
#[derive(Clone)]
#[must_use = "it does nothing until it is a builder's sink"]
pub struct Config {
    url: String,
    routes: Vec<(Severity, String)>,
    at_least: Severity,
    template: String,
    secret: Option<Vec<u8>>,
    manner: Manner,
}

impl Config {
    /// Posts alerts of one severity to another address.
    pub fn route(mut self, severity: Severity, url: impl Into<String>) -> Self {
        self.routes.push((severity, url.into()));
        self
    }

    /// Leaves out alerts below a severity; by default none.
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.at_least = severity;
        self
    }

    /// The body: JSON whose texts may hold `{{ alertname }}`, `{{ state }}` (`firing` or
    /// `resolved`), `{{ severity }}`, `{{ summary }}`, `{{ description }}`, `{{ runbook }}`,
    /// `{{ expression }}`, `{{ value }}`, `{{ threshold }}`, `{{ unit }}`, `{{ labels }}` (an
    /// object), `{{ labels.NAME }}`, `{{ annotations }}` (the rule's others, an object),
    /// `{{ annotations.NAME }}`, `{{ at }}`, `{{ active_since }}`, `{{ resolve_reason }}`,
    /// `{{ id }}`, `{{ causes }}` and `{{ evidence }}` (texts; the likeliest cause first).
    ///
    /// A text that is one placeholder and nothing else becomes what it stands for, a number as a
    /// number and nothing as `null`. By default all of them, by name.
    ///
    /// `{{ desired_replicas }}` is what [`scale::desired`](super::scale::desired) said last.
    pub fn template(mut self, json: impl Into<String>) -> Self {
        self.template = json.into();
        self
    }

    /// Signs every request as [Standard Webhooks](https://www.standardwebhooks.com) has it:
    /// `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
    /// `{webhook-id}.{webhook-timestamp}.{body}`. At least 16 bytes; what begins with `whsec_` is
    /// the base64 of them, as the receivers' libraries have it.
    pub fn sign_with(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Adds a header to every request, such as `authorization`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.manner.headers.push((name.into(), value.into()));
        self
    }

    /// How long a request may take: 10 s by default, 100 ms to 25 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.manner.timeout = timeout;
        self
    }

    /// Lets credentials travel over `http://` to other hosts.
    pub fn allow_plaintext_credentials(mut self) -> Self {
        self.manner.plaintext_credentials = true;
        self
    }

    /// What signs, if it can be read.
    fn key(&self) -> Option<Result<Vec<u8>, ()>> {
        let secret = self.secret.as_ref()?;
        Some(match secret.strip_prefix(b"whsec_") {
            // With or without padding, as receivers take it.
            Some(encoded) => {
                let end = encoded.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
                STANDARD_NO_PAD.decode(&encoded[..end]).map_err(drop)
            }
            None => Ok(secret.clone()),
        })
    }

    /// Where alerts of this severity go.
    fn url_of(&self, severity: Severity) -> &str {
        let route = self.routes.iter().rev().find(|(routed, _)| *routed == severity);
        route.map_or(&self.url, |(_, url)| url)
    }
}

/// Header values, the secret, and what an address may hold are nobody's business.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &otlp::endpoint::place(&self.url))
            .field("at_least", &self.at_least)
            .field("is_signed", &self.secret.is_some())
            .finish_non_exhaustive()
    }
}

impl From<Config> for Sink {
    fn from(config: Config) -> Self {
        Self::remote(NAME, Webhook { config, hooks: Vec::new() })
    }
}

/// The sink.
struct Webhook {
    config: Config,
    /// By address as given.
    hooks: Vec<(String, Outbox<Hook>)>,
}

impl Webhook {
    fn urls(&self) -> Vec<&str> {
        let routes = self.config.routes.iter().map(|(_, url)| url.as_str());
        let mut urls = vec![self.config.url.as_str()];
        routes.for_each(|url| {
            if !urls.contains(&url) {
                urls.push(url);
            }
        });
        urls
    }
}

impl Remote for Webhook {
    fn check(&self) -> Vec<otlp::Error> {
        let mut mistakes = self.config.manner.check(NAME, &self.urls(), Path::Given);
        if let Err(allowed) = Template::parse(&self.config.template) {
            let given: String = self.config.template.chars().take(80).collect();
            mistakes.push(otlp::Error::new("webhook template", format!("{given:?}"), allowed));
        }
        let wrong = |given, allowed| otlp::Error::new("webhook secret", given, allowed);
        match self.config.key() {
            Some(Err(())) => mistakes.push(wrong("not base64".to_owned(), "whsec_ and base64")),
            Some(Ok(key)) if key.len() < 16 => {
                mistakes.push(wrong(format!("{} bytes long", key.len()), "at least 16 bytes"));
            }
            _ => {}
        }
        mistakes
    }

    fn habits(&self) -> Habits {
        Habits::default()
    }

    fn begin(&mut self, speaker: Speaker) {
        let Ok(template) = Template::parse(&self.config.template) else { return };
        let desired = template
            .asks_for(template::DESIRED)
            .then(|| speaker.registry.gauge(semconv::SCALE_DESIRED_REPLICAS, &Labels::empty()));
        let plan = Arc::new(Plan {
            template,
            desired,
            identity: speaker.identity,
            headers: self.config.manner.headers.clone(),
            secret: self.config.key().and_then(Result::ok),
        });
        let urls: Vec<String> = self.urls().into_iter().map(str::to_owned).collect();
        for text in urls {
            let line = receiver::url(&text, Path::Given).and_then(|url| {
                Line::new(NAME, url, self.config.manner.timeout, &speaker.registry)
            });
            match line {
                Ok(line) => {
                    self.hooks.push((text, Outbox::new(THREAD, Hook::new(plan.clone(), line))));
                }
                // Checked at start; all that is left is that TLS cannot be had.
                Err(why) => log::error!("highwater: {}: {why}", otlp::endpoint::place(&text)),
            }
        }
    }

    fn tell(&mut self, transition: &Arc<Transition>) -> bool {
        let severity = transition.rule.severity;
        if severity < self.config.at_least || !hook::is_news(transition) {
            return true;
        }
        let url = self.config.url_of(severity);
        let hook = self.hooks.iter().find(|(text, _)| text == url);
        hook.is_some_and(|(_, hook)| hook.push(transition))
    }

    fn retrier(&self) -> Retrier {
        let hooks: Vec<_> = self.hooks.iter().map(|(_, hook)| hook.clone()).collect();
        Box::new(move || hooks.iter().for_each(Outbox::retry))
    }

    fn close(&mut self, deadline: Option<Instant>) {
        self.hooks.iter().for_each(|(_, hook)| hook.close(deadline));
    }

    fn finish(&mut self) -> Option<Left> {
        self.hooks
            .iter()
            .filter_map(|(_, hook)| hook.finish())
            .reduce(|all, one| Left { alerts: all.alerts + one.alerts, reason: all.reason })
    }
}
