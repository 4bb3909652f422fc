//! Who is speaking: the resource that goes with every request.

use std::fmt;

use super::{
    config::Error,
    env::{Env, percent_decoded},
};
use crate::{name::Labels, semconv};

const OTEL_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const OTEL_RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The resource's attributes, sorted by key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resource(Vec<(String, Value)>);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
}

impl Resource {
    /// What is given in code wins over the environment, which wins over what is found out. An
    /// empty `service` is none given.
    pub(crate) fn new<'a>(
        service: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
        env: &Env<'_>,
    ) -> (Self, Vec<Error>) {
        let mut resource = Self(Vec::new());
        let mut warnings = Vec::new();
        resource.set_facts();
        if let Some(text) = env(OTEL_RESOURCE_ATTRIBUTES) {
            match parse_attributes(&text) {
                Ok(pairs) => {
                    pairs.into_iter().for_each(|(key, value)| resource.set(&key, value));
                }
                // The specification asks to discard all of it.
                Err(what) => warnings.push(Error::new(
                    OTEL_RESOURCE_ATTRIBUTES,
                    what,
                    "key=value,key=value, percent-encoded UTF-8",
                )),
            }
        }
        if let Some(name) = env(OTEL_SERVICE_NAME).filter(|name| !name.is_empty()) {
            resource.set(semconv::SERVICE_NAME, name);
        }
        for (key, value) in attributes {
            resource.set(key, value.to_owned());
        }
        if !service.is_empty() {
            resource.set(semconv::SERVICE_NAME, service.to_owned());
        }
        // What the receiver tells our data by is not for others to say.
        resource.set(semconv::TELEMETRY_SDK_NAME, "highwater".to_owned());
        resource.set(semconv::TELEMETRY_SDK_LANGUAGE, "rust".to_owned());
        resource.set(semconv::TELEMETRY_SDK_VERSION, env!("CARGO_PKG_VERSION").to_owned());
        (resource, warnings)
    }

    fn set_facts(&mut self) {
        let executable = std::env::current_exe()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let unknown = match &executable {
            Some(name) => format!("unknown_service:{name}"),
            None => "unknown_service".to_owned(),
        };
        self.set(semconv::SERVICE_NAME, unknown);
        if let Some(name) = executable {
            self.set(semconv::PROCESS_EXECUTABLE_NAME, name);
        }
        if let Some(name) = sysinfo::System::host_name().filter(|name| !name.is_empty()) {
            self.set(semconv::HOST_NAME, name);
        }
        self.put(semconv::PROCESS_PID, Value::Integer(std::process::id().into()));
        self.set(semconv::SERVICE_INSTANCE_ID, uuid_v4(random_u128()));
    }

    /// An empty value removes the attribute.
    fn set(&mut self, key: &str, value: String) {
        self.put(key, Value::Text(value));
    }

    fn put(&mut self, key: &str, value: Value) {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key));
        let is_empty = matches!(&value, Value::Text(text) if text.is_empty()) || key.is_empty();
        match at {
            Ok(at) if is_empty => drop(self.0.remove(at)),
            Ok(at) => self.0[at].1 = value,
            Err(_) if is_empty => {}
            Err(at) => self.0.insert(at, (key.to_owned(), value)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Empty if somebody removed it.
    pub(crate) fn instance_id(&self) -> &str {
        self.text(semconv::SERVICE_INSTANCE_ID).unwrap_or_default()
    }

    /// `job` and `instance`, as a Prometheus server makes them.
    pub(crate) fn identity(&self) -> Labels {
        let name = self.text(semconv::SERVICE_NAME).unwrap_or_default();
        let job = match self.text(semconv::SERVICE_NAMESPACE) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        };
        let instance = self.text(semconv::SERVICE_INSTANCE_ID).unwrap_or_default();
        Labels::new([("job", job.as_str()), ("instance", instance)])
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| match value {
            Value::Text(text) if known == key => Some(text.as_str()),
            _ => None,
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
        }
    }
}

fn parse_attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("without \"=\" in {pair:?}"))?;
            let value = percent_decoded(value.trim())
                .ok_or_else(|| format!("wrongly encoded in {pair:?}"))?;
            let key = key.trim();
            if key.is_empty() {
                Err(format!("without a key in {pair:?}"))
            } else {
                Ok((key.to_owned(), value))
            }
        })
        .collect()
}

/// From the operating system; where even that is denied, from what differs between processes.
pub(crate) fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        Err(_) => {
            use std::hash::{BuildHasher, RandomState};
            let nanos = crate::clock::unix_nanos(std::time::SystemTime::now());
            let one = RandomState::new().hash_one((nanos, std::process::id()));
            let two = RandomState::new().hash_one((one, nanos));
            (u128::from(one) << 64) | u128::from(two)
        }
    }
}

/// RFC 9562, version 4.
fn uuid_v4(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resource(service: &str, env: &[(&str, &str)]) -> (Resource, Vec<Error>) {
        let look_up = |name: &str| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Resource::new(service, [("deployment.environment.name", "prod")], &look_up)
    }

    #[test]
    fn code_wins_over_the_environment_which_wins_over_facts() {
        let env = [
            (
                OTEL_RESOURCE_ATTRIBUTES,
                "service.version=1%2C2, deployment.environment.name=dev,host.name=h,telemetry.sdk.name=x",
            ),
            (OTEL_SERVICE_NAME, "from-env"),
        ];
        let (named, warnings) = resource("veltrix", &env);
        assert_eq!(warnings, []);
        assert_eq!(named.text(semconv::SERVICE_NAME), Some("veltrix"));
        assert_eq!(named.text("service.version"), Some("1,2"));
        assert_eq!(named.text("deployment.environment.name"), Some("prod"));
        assert_eq!(named.text(semconv::HOST_NAME), Some("h"));
        assert_eq!(named.text(semconv::TELEMETRY_SDK_NAME), Some("highwater"));
        assert_eq!(resource("", &env).0.text(semconv::SERVICE_NAME), Some("from-env"));
        let unknown = resource("", &[]).0;
        assert!(unknown.text(semconv::SERVICE_NAME).unwrap().starts_with("unknown_service:"));
    }

    #[test]
    fn a_bad_list_of_attributes_is_discarded_whole_and_warned_of() {
        for bad in ["a=1,b", "a=%zz", "a=%ff", "a=%4", "=x"] {
            let (kept, warnings) = resource("s", &[(OTEL_RESOURCE_ATTRIBUTES, bad)]);
            assert_eq!(warnings.len(), 1, "{bad:?}");
            assert!(kept.text("a").is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_instance_id_is_a_random_uuid() {
        assert_eq!(uuid_v4(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id =
            |resource: &Resource| resource.text(semconv::SERVICE_INSTANCE_ID).unwrap().to_owned();
        assert_ne!(id(&resource("s", &[]).0), id(&resource("s", &[]).0));
    }

    #[test]
    fn the_process_id_is_a_number() {
        let (found, _) = resource("s", &[]);
        let pid = found.iter().find(|(key, _)| *key == semconv::PROCESS_PID).unwrap();
        assert_eq!(pid.1, &Value::Integer(std::process::id().into()));
    }
}
