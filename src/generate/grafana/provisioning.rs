//! What tells Grafana where dashboards and data come from.

use super::Flavor;

pub(super) fn dashboards() -> String {
    "\
# Grafana reads this from its directory provisioning/dashboards.
apiVersion: 1
providers:
  - name: highwater
    folder: highwater
    type: file
    disableDeletion: true
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: /var/lib/grafana/dashboards/highwater
      foldersFromFilesStructure: false
"
    .to_owned()
}

pub(super) fn datasources(flavor: Flavor) -> String {
    // VictoriaMetrics answers Prometheus' interface; its version is then asked for what it can do.
    let (name, kind) = match flavor {
        Flavor::VictoriaMetrics => ("VictoriaMetrics", "Prometheus"),
        _ => ("Prometheus", "Prometheus"),
    };
    format!(
        "\
# Grafana reads this from its directory provisioning/datasources; $HIGHWATER_METRICS_URL is the
# server's address, set in Grafana's environment.
apiVersion: 1
datasources:
  - name: {name}
    uid: highwater-metrics
    type: prometheus
    access: proxy
    url: $HIGHWATER_METRICS_URL
    isDefault: false
    jsonData:
      httpMethod: POST
      prometheusType: {kind}
      # How often highwater pushes unless told otherwise: rates look back four of these.
      timeInterval: 10s
"
    )
}
