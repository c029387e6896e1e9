"""A real Prometheus: the binary on the path, on a free loopback port, in a private folder."""

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.requirements import missing
from tests.servers.processes import free_port, get, running


@dataclass(frozen=True)
class Prometheus:
    """A server. `query` answers the samples of an instant query."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expression})
        answer = json.loads(get(f"{self.url}/api/v1/query?{query}"))
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextmanager
def scraping(
    target: str, *, folder: Path, rules: Path, alertmanager: str, job: str = "rlaifd"
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `target` (host:port) and evaluates the rules, both every second."""
    binary = shutil.which("prometheus")
    if binary is None:
        missing("prometheus", "no prometheus on the path: install Debian's prometheus")
    folder.mkdir()
    port = free_port()
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        binary,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--rules.alert.resend-delay=5s",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = Prometheus(port)
    with running(command, folder=folder, ready=f"{server.url}/-/ready"):
        yield server
