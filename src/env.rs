//! What an operator may change without a build: `HIGHWATER_*`. It wins over the builder, which
//! wins over `OTEL_*`. A mistake here never keeps a service from starting: it is logged, counted
//! in `highwater.config.mistakes`, and the setting is left as it was. (`HIGHWATER_ENDPOINT`
//! is read where the other endpoints are, in `export::otlp`.)

use std::{path::PathBuf, time::Duration};

use crate::{event::Severity, rule::Adjust};

/// How a variable is looked up; tests give their own.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process' own environment; values that are not UTF-8 count as unset.
pub(crate) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Everything that was set, read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Env {
    pub(crate) disabled: bool,
    pub(crate) tick: Option<Duration>,
    /// Rule name and what to change, in the order given.
    pub(crate) rules: Vec<(String, Adjust)>,
    /// The kinds of sink that stay.
    pub(crate) sinks: Option<Vec<String>>,
    pub(crate) silence_file: Option<PathBuf>,
    pub(crate) mistakes: Vec<String>,
}

/// The kinds of sink there are, whatever this build has of them.
const SINKS: [&str; 6] = ["log", "callback", "channel", "alertmanager", "webhook", "tracing"];

impl Env {
    pub(crate) fn read(lookup: Lookup<'_>) -> Self {
        let mut env = Self::default();
        // An empty variable is an unset one, as OpenTelemetry has it.
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        for name in ["HIGHWATER_DISABLED", "OTEL_SDK_DISABLED"] {
            match get(name).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
                None | Some("false" | "0") => {}
                Some("true") => env.disabled = true,
                Some("1") if name == "HIGHWATER_DISABLED" => env.disabled = true,
                Some(other) => {
                    env.mistakes.push(format!("{name}={other:?}: expected true or false"));
                }
            }
        }
        if let Some(value) = get("HIGHWATER_TICK") {
            match parse_duration(value.trim()) {
                Some(tick) if crate::engine::TICK_RANGE.contains(&tick) => env.tick = Some(tick),
                _ => env.mistakes.push(format!(
                    "HIGHWATER_TICK={value:?}: expected a duration from 100ms to 60s, such as 1s"
                )),
            }
        }
        // The clock itself has read it: it is the process', and older than any instance.
        if let Some(value) = get("HIGHWATER_CLOCK")
            && !value.eq_ignore_ascii_case("instant")
        {
            env.mistakes.push(format!("HIGHWATER_CLOCK={value:?}: expected instant"));
        }
        if let Some(value) = get("HIGHWATER_RULES") {
            for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match parse_change(part) {
                    Ok(change) => env.rules.push(change),
                    Err(why) => env.mistakes.push(format!("HIGHWATER_RULES: {part:?}: {why}")),
                }
            }
        }
        if let Some(value) = get("HIGHWATER_SINKS") {
            let mut kept = Vec::new();
            for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match part {
                    "off" => {}
                    kind if SINKS.contains(&kind) => kept.push(part.to_owned()),
                    _ => env.mistakes.push(format!(
                        "HIGHWATER_SINKS: {part:?}: expected off or {}",
                        SINKS.join(", ")
                    )),
                }
            }
            env.sinks = Some(kept);
        }
        env.silence_file = get("HIGHWATER_SILENCE_FILE").map(PathBuf::from);
        env
    }
}

/// `Name=off`, `Name=on`, `Name.threshold=0.9`, `Name.clear=0.8`, `Name.severity=info`,
/// `Name.for=2m`.
fn parse_change(text: &str) -> Result<(String, Adjust), &'static str> {
    const FORMS: &str = "expected Name=off, Name=on, Name.threshold=NUMBER, Name.clear=NUMBER, \
                         Name.severity=info|warning|critical or Name.for=DURATION";
    let (key, value) = text.split_once('=').ok_or(FORMS)?;
    let (key, value) = (key.trim(), value.trim());
    let number = || value.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or(FORMS);
    let (name, what) = key.rsplit_once('.').unwrap_or((key, ""));
    let mut change = Adjust::default();
    match what {
        "" => match value {
            "on" => change.enabled = Some(true),
            "off" => change.enabled = Some(false),
            _ => return Err(FORMS),
        },
        "threshold" => change.threshold = Some(number()?),
        "clear" => change.clear = Some(number()?),
        "for" => change.hold_for = Some(parse_duration(value).ok_or(FORMS)?),
        "severity" => {
            change.severity_cap = Some(match value {
                "info" => Severity::Info,
                "warning" => Severity::Warning,
                "critical" => Severity::Critical,
                _ => return Err(FORMS),
            });
        }
        _ => return Err(FORMS),
    }
    if name.is_empty() { Err(FORMS) } else { Ok((name.to_owned(), change)) }
}

/// A whole number with a unit: `500ms`, `1s`, `2m`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Env {
        Env::read(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_changes_nothing() {
        assert_eq!(read(&[]), Env::default());
        assert_eq!(read(&[("HIGHWATER_TICK", " "), ("HIGHWATER_RULES", "")]), Env::default());
    }

    #[test]
    fn every_knob_is_read() {
        let env = read(&[
            ("HIGHWATER_DISABLED", "1"),
            ("HIGHWATER_TICK", "500ms"),
            ("HIGHWATER_RULES", "A=off, B.threshold=0.9,B.clear=0.8 ,C.severity=info,C.for=2m"),
            ("HIGHWATER_SINKS", "log"),
            ("HIGHWATER_SILENCE_FILE", "silences"),
        ]);
        let none = Adjust::default();
        assert!(env.disabled);
        assert_eq!(env.tick, Some(Duration::from_millis(500)));
        assert_eq!(
            env.rules,
            [
                ("A".into(), Adjust { enabled: Some(false), ..none }),
                ("B".into(), Adjust { threshold: Some(0.9), ..none }),
                ("B".into(), Adjust { clear: Some(0.8), ..none }),
                ("C".into(), Adjust { severity_cap: Some(Severity::Info), ..none }),
                ("C".into(), Adjust { hold_for: Some(Duration::from_secs(120)), ..none }),
            ]
        );
        assert_eq!(env.sinks, Some(vec!["log".to_owned()]));
        assert_eq!(env.mistakes, Vec::<String>::new());
    }

    #[test]
    fn off_switches() {
        assert!(read(&[("OTEL_SDK_DISABLED", "TRUE")]).disabled);
        // OpenTelemetry: only "true" means true.
        assert!(!read(&[("OTEL_SDK_DISABLED", "1")]).disabled);
        assert_eq!(read(&[("HIGHWATER_SINKS", "off")]).sinks, Some(vec![]));
        let remote = read(&[("HIGHWATER_SINKS", "alertmanager,webhook,tracing")]);
        assert_eq!((remote.sinks.map(|kept| kept.len()), remote.mistakes.len()), (Some(3), 0));
    }

    #[test]
    fn mistakes_are_named_and_harmless() {
        let env = read(&[
            ("HIGHWATER_DISABLED", "maybe"),
            ("HIGHWATER_TICK", "0s"),
            (
                "HIGHWATER_RULES",
                "A=maybe,B.threshold=NaN,.clear=1,C.colour=red,D.for=99999999999999999999h",
            ),
            ("HIGHWATER_SINKS", "pager"),
        ]);
        assert_eq!(env.mistakes.len(), 8, "{:#?}", env.mistakes);
        assert!(env.mistakes.iter().any(|m| m.contains("HIGHWATER_TICK=\"0s\"")));
        assert_eq!(Env { mistakes: vec![], sinks: None, ..env }, Env::default());
    }
}
