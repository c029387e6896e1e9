"""Rules, routes and the dashboard: they use only metrics that exist, and the real tools accept them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from daemon.metrics.registry import Metrics
from policies.halts import EVIDENCE_OF
from policies.records import Scope

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
DASHBOARD = ROOT / "grafana" / "dashboards" / "rlaifd.json"

METRIC = re.compile(r"\brlaifd_\w+")
GROUPING = re.compile(r"\b(?:by|on|ignoring|without|group_left)\s*\(([^)]*)\)")
MATCHERS = re.compile(r"\{([^}]*)\}")
ADDED_LABELS = {"job", "instance", "le", "alertname", "alertstate"}
UNITS = {"none", "short", "percentunit", "currencyUSD", "s", "reqps", "dateTimeFromNow"}


def families() -> dict[str, Metric]:
    """Every declared metric by the names of its samples, as a scrape shows them."""
    named: dict[str, Metric] = {}
    for family in Metrics().registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        named |= {f"{family.name}{ending}": family for ending in endings}
    return named


def labels() -> set[str]:
    """Every label that our metrics declare."""
    metrics = vars(Metrics()).values()
    return {label for metric in metrics for label in getattr(metric, "_labelnames", ())}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return queries + [annotation["expr"] for annotation in dashboard()["annotations"]["list"]]


def labels_in(query: str) -> set[str]:
    grouped = {name.strip() for found in GROUPING.findall(query) for name in found.split(",")}
    matched = {
        re.split(r"[=!]", part.strip())[0] for found in MATCHERS.findall(query) for part in found.split(",")
    }
    return {name for name in grouped | matched if name}


def tool(name: str, *arguments: str | Path) -> str:
    """Runs a tool and returns what it said; skips where it is not installed."""
    if shutil.which(name) is None:
        package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
        pytest.skip(f"{name} is not installed (Debian package {package})")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_dashboard_use_only_declared_metrics() -> None:
    """Each name is a sample that the daemon's registry exports, and each label one that it declares."""
    known, known_labels = families(), labels() | ADDED_LABELS | {"severity", "halts"}
    for query in [rule["expr"] for rule in rules()] + dashboard_queries():
        names = set(METRIC.findall(query))
        assert names <= set(known), query
        assert labels_in(query) <= known_labels, query
    for rule in rules():
        assert set(re.findall(r"\$labels\.(\w+)", str(rule))) <= known_labels


def test_the_dashboard_shows_every_metric() -> None:
    """A metric that nobody can see is not worth its declaration."""
    shown = {name for query in dashboard_queries() for name in METRIC.findall(query)}
    unseen = {family.name for family in families().values()} - {
        family.name for name, family in families().items() if name in shown
    }
    assert unseen == set()


def test_alert_texts_name_only_declared_metrics() -> None:
    """What a description tells people to look at exists."""
    for rule in rules():
        assert set(METRIC.findall(str(rule["annotations"]))) <= set(families())


def test_every_alert_says_what_to_do() -> None:
    """Name, comparison, severity, summary and description; a halt is of a scope that the daemon knows."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["alert"].startswith("Rlaifd")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 40
        assert rule["labels"]["severity"] in {"none", "warning", "critical"}
        assert set(rule["labels"]) <= {"severity", "halts", "evidence"}
        assert rule["labels"].get("halts") in {None, "rollback", *(scope.value for scope in Scope)}
        assert "$value" not in str(rule["labels"])
        assert rule["alert"] == "RlaifdWatchdog" or re.search(r"[<>]|[!=]=|absent", rule["expr"])
        if "halts" in rule["labels"]:
            assert rule["labels"]["severity"] == "critical"
            scope = {"rollback": "promotion"}.get(rule["labels"]["halts"], rule["labels"]["halts"])
            text = rule["annotations"]["description"]
            assert f"rlaifd resume {scope}" in text or "is halted" in text


def test_alerts_say_what_they_rest_on() -> None:
    """The rules' `evidence` is what the daemon takes the alerts of these names to rest on, label or not."""
    said = {rule["alert"]: rule["labels"].get("evidence") for rule in rules()}
    assert {name: found for name, found in said.items() if found} == dict(EVIDENCE_OF)


def test_each_scope_can_be_halted_by_an_alert() -> None:
    """Judging, training, promotion and rollback each have an alert."""
    assert {rule["labels"].get("halts") for rule in rules()} == {None, "rollback", *(s.value for s in Scope)}


def test_prometheus_accepts_rules_and_configuration() -> None:
    """Promtool's checks and lint pass."""
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    tool("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_alerts_fire_when_they_should() -> None:
    """Promtool runs the rules against written series."""
    tool("promtool", "test", "rules", Path(__file__).with_name("rules.test.yaml"))


def test_every_alert_is_tested() -> None:
    """No alert is without a written case."""
    text = Path(__file__).with_name("rules.test.yaml").read_text()
    patterns = re.findall(r'alertname=~"([^"]+)"', text)
    for rule in rules():
        name = rule["alert"]
        assert name in text or any(re.fullmatch(pattern, name) for pattern in patterns), name


def test_the_exposition_is_clean() -> None:
    """Promtool's linter has nothing to say about the metrics themselves."""
    from prometheus_client import generate_latest

    from tests.judges import BENCH

    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    metrics = Metrics()
    metrics.prepare(sources=("agent",), judges=BENCH)
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(metrics.registry),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    """Amtool checks it."""
    tool("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("alertname=RlaifdWatchdog", "severity=none"), "rlaifd"),
        (("alertname=X", "halts=training", "severity=critical"), "rlaifd,people"),
        (("alertname=X", "halts=no-such-scope", "severity=critical"), "rlaifd,people"),
        (("alertname=X", "severity=warning"), "people"),
    ],
)
def test_alerts_are_routed(labels: tuple[str, ...], receivers: str) -> None:
    """What halts goes to the daemon and to people; the heartbeat to the daemon only."""
    told = tool("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert told.strip() == receivers


def test_the_webhook_is_the_daemons() -> None:
    """Resolved alerts are sent too, none is left out, and the token is read from a file."""
    document = yaml.safe_load(ALERTMANAGER.read_text())
    receiver = next(each for each in document["receivers"] if each["name"] == "rlaifd")
    webhook = receiver["webhook_configs"][0]
    assert webhook["url"].endswith("/alerts")
    assert webhook["send_resolved"] is True
    assert webhook["max_alerts"] == 0
    assert webhook["http_config"]["authorization"]["credentials_file"]


def test_the_dashboard_is_one_that_people_cannot_break() -> None:
    """Provisioned: not editable, a stable uid, one templated data source, job and instance to choose."""
    found = dashboard()
    assert found["editable"] is False
    assert found["uid"] == "rlaifd"
    assert found["refresh"] == "30s"
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "instance"}
    assert variables["datasource"]["label"] == "Data source"
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("job", "instance"):
        variable = variables[name]
        assert variable["label"] == name
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2
        assert variable["datasource"]["uid"] == "$datasource"
        assert isinstance(variable["query"], str)


def test_every_panel_is_whole() -> None:
    """Title, description, unit, the templated data source, and at least one query that is templated too."""
    identities = [panel["id"] for panel in dashboard()["panels"]]
    assert len(identities) == len(set(identities))
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))
    for panel in panels():
        assert panel["description"]
        assert panel["datasource"]["uid"] == "$datasource"
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "$datasource"
            for metric in METRIC.findall(target["expr"]):
                assert re.search(metric + r'\{job=~"\$job", instance=~"\$instance"', target["expr"])


def test_no_panel_lies_on_another() -> None:
    """The grid has 24 columns, and each cell belongs to one panel."""
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        area = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not area & cells, panel["title"]
        cells |= area


def test_counters_are_read_as_rates() -> None:
    """`_total` and buckets only inside rate, increase or changes, over the scrape-aware interval."""
    for query in dashboard_queries():
        for counter in re.findall(r"\brlaifd_\w+(?:_total|_bucket|_sum|_count)\b", query):
            assert re.search(rf"(?:rate|increase|changes)\({counter}\b", query), query
        for window in re.findall(r"\[([^\]]+)\]", query):
            assert window == "$__rate_interval"


def test_prometheus_parses_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """With the variables filled in, each query is valid PromQL."""
    recorded = [
        {"record": f"dashboard:query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(dashboard_queries())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in tool("promtool", "check", "rules", path)


def test_grafana_is_provisioned() -> None:
    """The data source's address and the dashboards' folder are those of the compose file."""
    provisioning = ROOT / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((provisioning / "dashboards" / "rlaifd.yaml").read_text())["providers"][0]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["../grafana/dashboards"] == provider["options"]["path"]
    assert mounted["../grafana/provisioning"] == "/etc/grafana/provisioning"
