"""Metrics, health and the status page, over real HTTP."""

import html
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from daemon.clock import FakeClock
from daemon.config.settings import WebConfig
from daemon.errors import RlaifdError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.service.health import Readiness
from daemon.store.store import Store, StoreError
from daemon.web.app import Web
from daemon.web.listener import Listener
from tests.daemon.web.site import BEARER, Site
from tests.judges import BENCH
from tests.requirements import missing

SCRIPT = "<script>alert('x')</script>"


@pytest.fixture
def site(sqlite_store: Store, clock: FakeClock) -> Iterator[Site]:
    with Site(Latch(sqlite_store, clock, Metrics()), clock=clock).running() as running:
        running.metrics.prepare(sources=("agent",), judges=BENCH)
        yield running


def text_of(body: bytes) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", body.decode()))


def test_metrics_are_this_registry_and_clean(site: Site) -> None:
    """`promtool check metrics` finds nothing to say."""
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("prometheus", "promtool is not on the path")
    answer = site.ask("/metrics")
    assert answer.code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b"rlaifd_human_judge_alignment_limit_ratio" in answer.body
    assert b"python_info" not in answer.body
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=answer.body, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_metrics_come_as_openmetrics_when_asked(site: Site) -> None:
    """Prometheus asks for it."""
    answer = site.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_healthz_names_the_stuck_loop(site: Site, clock: FakeClock) -> None:
    """A loop past its bound is 503 until it comes round again."""
    site.heartbeats.expect("ingest", bound_s=10)
    site.heartbeats.expect("curate", bound_s=100)
    clock.advance(9)
    assert site.ask("/healthz").code == 200
    clock.advance(2)
    answer = site.ask("/healthz")
    assert (answer.code, answer.json()["stuck"]) == (503, ["ingest"])
    site.heartbeats.beat("ingest")
    assert site.ask("/healthz").code == 200


def test_a_failing_loop_is_healthy_and_shown(site: Site) -> None:
    """Restarting the daemon would not bring the broker back."""
    site.heartbeats.expect("ingest", bound_s=10)
    site.heartbeats.failed("ingest", "TransientError: no broker")
    answer = site.ask("/healthz")
    assert answer.code == 200
    assert answer.json()["loops"]["ingest"]["failure"] == "TransientError: no broker"


def test_readyz_waits_for_first_steps_and_the_store(site: Site) -> None:
    """It names what is missing."""
    site.heartbeats.expect("watch", bound_s=10, awaited=True)
    answer = site.ask("/readyz")
    assert (answer.code, answer.json()["missing"]) == (503, ["watch: first step not done"])
    site.heartbeats.passed("watch")
    assert site.ask("/readyz").code == 200


def test_a_store_that_does_not_answer_is_not_ready(clock: FakeClock, site: Site) -> None:
    """The check's own line says why."""

    def _down() -> None:
        raise StoreError("store postgresql://db/rlaifd: connection refused")

    readiness = Readiness(site.heartbeats, store=_down)
    assert readiness.missing() == ("store: store postgresql://db/rlaifd: connection refused",)


def test_the_page_escapes_what_the_logs_say(site: Site) -> None:
    """Reasons, names and keys come from logs, and logs are written by strangers."""
    site.state.update(
        halts=[{"scope": "training", "reason": SCRIPT, "created_at": 1_700_000_000.0}],
        conditions=[SCRIPT],
        rollout={"stable": SCRIPT, "epoch": 3},
        records={SCRIPT: {"stored": 1}},
        traces=SCRIPT,
    )
    answer = site.ask("/")
    assert answer.code == 200
    assert b"<script" not in answer.body
    assert answer.body.count(b"&lt;script&gt;") == 5
    assert "2023-11-14 22:13:20 UTC" in text_of(answer.body)


def test_every_answer_forbids_scripts(site: Site) -> None:
    """Also the refusals and what does not exist."""
    for path in ("/", "/api/v1/status", "/metrics", "/healthz", "/nowhere", "/style.css", "/alerts"):
        headers = {name.lower(): value for name, value in site.ask(path).headers.items()}
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_page_shows_every_section(site: Site) -> None:
    """What needs a person comes first; nothing that the object holds is left out."""
    site.state.update(
        traces=12,
        judgements={"small": {"open": 3, "done": 9}, "large": {"done": 1}},
        runs=[{"id": "r1", "state": "halted", "reason": "KL 12 above 10"}],
        evaluations=[{"adapter": "a1", "decision": "hold", "reasons": ["23 labels", "no stable"]}],
        rollout={"stable": None, "epoch": 0},
        halts=[],
    )
    words = text_of(site.ask("/").body)
    assert words.index("halts") < words.index("rollout") < words.index("judgements") < words.index("traces")
    for piece in ("KL 12 above 10", "23 labels; no stable", "hold", "open", "none"):
        assert piece in words


def test_status_as_json_is_the_object_itself(site: Site) -> None:
    """The same that `rlaifd status --json` prints; of the loops only the running daemon knows."""
    site.state.update(halts=[], rollout={"stable": "demo-123456789abc"}, conditions=["rollout: drift"])
    answer = site.ask("/api/v1/status")
    assert (answer.code, answer.json()) == (200, site.state)
    site.heartbeats.expect("ingest", bound_s=10)
    site.heartbeats.failed("ingest", "no broker")
    conditions = site.ask("/api/v1/status").json()["conditions"]
    assert conditions == ["rollout: drift", "ingest: failed 1 times in a row: no broker"]


def test_without_a_store_the_page_says_so(site: Site) -> None:
    """503, with what this process still knows."""
    site.heartbeats.expect("ingest", bound_s=10)
    site.heartbeats.failed("ingest", "TransientError: no broker")
    site.broken_status = StoreError("store sqlite: disk I/O error")
    answer = site.ask("/")
    assert answer.code == 503
    assert "disk I/O error" in text_of(answer.body)
    assert "ingest: failed 1 times in a row: TransientError: no broker" in text_of(answer.body)
    assert site.ask("/api/v1/status").json()["conditions"][0] == "store sqlite: disk I/O error"


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:9464", 200),
        ("10.0.0.7", 200),
        ("rlaifd.example:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:9464", 403),
        ("", 403),
    ],
)
def test_pages_answer_only_to_their_names(site: Site, host: str, code: int) -> None:
    """A re-bound name is somebody else's page reading over a browser's shoulder."""
    assert site.ask("/", headers={"Host": host}).code == code
    assert site.ask("/api/v1/status", headers={"Host": host}).code == code
    for path in ("/metrics", "/healthz", "/readyz"):
        assert site.ask(path, headers={"Host": host}).code == (200 if host == "" else code)


def test_metrics_answer_to_a_name_in_a_cluster_too(site: Site) -> None:
    """A scraper asks for `rlaifd:9464`, and nobody can own a name without a dot."""
    for path in ("/metrics", "/healthz", "/readyz"):
        assert site.ask(path, headers={"Host": "rlaifd:9464"}).code == 200
    assert site.ask("/", headers={"Host": "rlaifd:9464"}).code == 403


def test_nothing_redirects_to_a_name_that_was_sent(site: Site) -> None:
    """Not for a slash too many either."""
    for path in ("/api/v1/status/", "/metrics/", "//evil.example"):
        answer = site.ask(path, headers={"Host": "evil.example"})
        assert (answer.code, "location" in answer.headers) == (404, False)


def test_beyond_loopback_pages_ask_for_the_token(sqlite_store: Store, clock: FakeClock) -> None:
    """Probes and scrapers need none; without a token set nobody gets the page or the webhook."""
    address = _outer_address()
    site = Site(Latch(sqlite_store, clock, Metrics()), clock=clock)
    with site.running("0.0.0.0"):
        assert site.ask("/", host=address).code == 401
        assert site.ask("/", host=address, headers=BEARER).code == 200
        assert site.ask("/api/v1/status", host=address).code == 401
        assert site.ask("/healthz", host=address).code == 200
        assert site.ask("/metrics", host=address).code == 200
        site.token = None
        assert site.ask("/", host=address).code == 401
        assert site.ask("/alerts", method="POST", body=b'{"alerts": []}', host=address).code == 401
        assert site.ask("/").code == 200


def _outer_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket: nothing is sent
        except OSError:
            pytest.skip("the machine has no address besides loopback")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("the machine has no address besides loopback")
    return address


def test_a_taken_port_is_one_clear_line(site: Site) -> None:
    """Two daemons with one configuration meet here or at the state directory."""
    second = Listener(Web.healthz, host="127.0.0.1", port=site.port, log=get("web"))  # type: ignore[arg-type]
    with pytest.raises(RlaifdError, match=rf"web\.port {site.port}: Address already in use"):
        second.start()


def test_an_unknown_address_is_one_clear_line() -> None:
    """A typo in web.host."""
    listener = Listener(Web.healthz, host="no.such.host.invalid", port=0, log=get("web"))  # type: ignore[arg-type]
    with pytest.raises(RlaifdError, match=r"web\.host no\.such\.host\.invalid"):
        listener.start()


def test_the_listener_stops_and_frees_its_port(sqlite_store: Store, clock: FakeClock) -> None:
    """Stopping twice is no harm."""
    site = Site(Latch(sqlite_store, clock, Metrics()), clock=clock)
    with site.running():
        assert site.ask("/healthz").code == 200
    with pytest.raises(ConnectionRefusedError):
        site.ask("/healthz")


def test_further_names_are_configured() -> None:
    """`web.names` is a setting."""
    assert WebConfig(names=("rlaifd.example",)).names == ("rlaifd.example",)
