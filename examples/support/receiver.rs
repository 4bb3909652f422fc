//! An OTLP/HTTP receiver for one process to look at itself: no server, no dependency beyond the
//! messages and gzip.

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{
        ExponentialHistogramDataPoint, Metric, NumberDataPoint, metric::Data,
        number_data_point::Value as Number,
    },
};
use prost::Message;

/// What arrived, by series; the last value stands.
#[derive(Default)]
struct Arrived {
    requests: usize,
    bytes: usize,
    resource: Vec<KeyValue>,
    series: BTreeMap<String, (String, String)>,
    alerts: Vec<LogRecord>,
}

/// A receiver on a free port of the loopback interface.
pub struct Receiver {
    address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
}

impl Receiver {
    /// Starts one, unless `OTEL_EXPORTER_OTLP_ENDPOINT` says that there is a real one.
    pub fn unless_configured() -> io::Result<Option<Self>> {
        if env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
            return Ok(None);
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let arrived = Arc::<Mutex<Arrived>>::default();
        let shared = arrived.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Ok(Some(Self { address, arrived }))
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Prints every series with its last value, and every alert's transitions.
    pub fn print_what_arrived(&self) {
        let arrived = self.arrived.lock().unwrap();
        println!("\nThe OTLP receiver got {} requests, {} bytes.", arrived.requests, arrived.bytes);
        println!("  resource: {}", attributes(&arrived.resource));
        let mut last = "";
        for (series, (kind, value)) in &arrived.series {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            if name != last {
                println!("  {name}  ({kind})");
                last = name;
            }
            println!("      {{{labels}  {value}");
        }
        println!("  alert transitions:");
        for record in &arrived.alerts {
            let get = |key| text(&record.attributes, key);
            println!(
                "      {} {} → {}: {}",
                get("highwater.alert.name"),
                get("highwater.alert.previous_state"),
                get("highwater.alert.state"),
                record.body.as_ref().map(|body| show(body.value.as_ref())).unwrap_or_default(),
            );
        }
    }
}

fn serve(stream: &TcpStream, arrived: &Mutex<Arrived>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some((path, body, size))) = request(&mut reader) {
        let mut arrived = arrived.lock().unwrap();
        arrived.requests += 1;
        arrived.bytes += size;
        if path.ends_with("/v1/metrics") {
            metrics(&mut arrived, &body);
        } else if let Ok(logs) = ExportLogsServiceRequest::decode(&*body) {
            let scopes = logs.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            arrived.alerts.extend(scopes.flat_map(|scope| scope.log_records));
        }
        let mut stream = stream;
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// A request's path, its body, and how many bytes that was on the wire.
fn request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>, usize)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let (mut length, mut gzip) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "content-encoding" => gzip = value.trim() == "gzip",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if gzip {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain)?;
        body = plain;
    }
    Ok(Some((path, body, length)))
}

fn metrics(arrived: &mut Arrived, body: &[u8]) {
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else { return };
    for resource in request.resource_metrics {
        arrived.resource = resource.resource.map(|r| r.attributes).unwrap_or_default();
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let (kind, points) = points(&metric);
            let unit = if metric.unit.is_empty() { "-" } else { &metric.unit };
            for (labels, value) in points {
                let series = format!("{}{{{labels}}}", metric.name);
                arrived.series.insert(series, (format!("{kind}, unit {unit}"), value));
            }
        }
    }
}

fn points(metric: &Metric) -> (&'static str, Vec<(String, String)>) {
    let number = |point: &NumberDataPoint| {
        let value = match point.value {
            Some(Number::AsDouble(value)) => format!("{value}"),
            Some(Number::AsInt(value)) => format!("{value}"),
            None => "none".to_owned(),
        };
        (attributes(&point.attributes), value)
    };
    match &metric.data {
        Some(Data::Gauge(gauge)) => ("gauge", gauge.data_points.iter().map(number).collect()),
        Some(Data::Sum(sum)) => {
            let kind = if sum.is_monotonic { "counter" } else { "up-down counter" };
            (kind, sum.data_points.iter().map(number).collect())
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let points = histogram.data_points.iter();
            (
                "exponential histogram",
                points.map(|p| (attributes(&p.attributes), summary(p))).collect(),
            )
        }
        _ => ("unexpected", Vec::new()),
    }
}

fn summary(point: &ExponentialHistogramDataPoint) -> String {
    format!(
        "count {}, mean {:.6}, min {:.6}, max {:.6}, scale {}",
        point.count,
        point.sum.unwrap_or_default() / point.count.max(1) as f64,
        point.min.unwrap_or_default(),
        point.max.unwrap_or_default(),
        point.scale,
    )
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found.map(|a| show(a.value.as_ref().and_then(|v| v.value.as_ref()))).unwrap_or_default()
}

fn attributes(all: &[KeyValue]) -> String {
    let one = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        format!("{}={}", attribute.key, show(value))
    };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn show(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        _ => String::new(),
    }
}
