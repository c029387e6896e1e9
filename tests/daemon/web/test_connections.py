"""Connections that say nothing, little, or nonsense keep nobody else out."""

import logging
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from daemon.clock import SystemClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store.store import Store
from daemon.web import patience
from daemon.web.crowd import MOST_REQUESTS
from tests.daemon.waiting import until
from tests.daemon.web.site import TOKEN, Site, alert

MANY = 1_000
BEYOND = 16
BEGINNINGS = [
    b"",
    b"POST /alerts HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx",
    f"POST /alerts HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Length: 9\r\n\r\n{".encode(),
]


@pytest.fixture
def site(sqlite_store: Store) -> Iterator[Site]:
    with Site(Latch(sqlite_store, SystemClock(), Metrics())).running() as running:
        yield running


@contextmanager
def open_connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections of every kind that is not whole, all open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MANY
    if hard not in {-1, resource.RLIM_INFINITY} and hard < wanted:
        pytest.skip(f"a process may open {hard} files here, and this test opens {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with ExitStack() as stack:
        found = []
        for number in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            beginning = BEGINNINGS[number % len(BEGINNINGS)]
            if beginning:
                connection.sendall(beginning)
            found.append(connection)
        yield found
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_idle_connections_silence_nothing(site: Site) -> None:
    """Silent ones, half a header, half a body, with and without the token."""
    with open_connections(site.port, MANY):
        for number in range(5):
            assert site.send(alert("training", fingerprint=f"f{number}")).json() == {"halted": 1}
            assert site.ask("/healthz").code == 200
            assert site.ask("/metrics").code == 200


def ends(connection: socket.socket, drip: bytes, timeout_s: float = 60.0) -> bool:
    """Whether the other side ends the connection although something goes on dripping in."""
    connection.settimeout(0.05)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if drip:
                connection.sendall(drip)
            if connection.recv(65536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize("answered", [False, True], ids=["new", "after an answer"])
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=["nothing", "header", "body", "body with token"])
def test_a_connection_without_a_whole_request_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch, beginning: bytes, answered: bool
) -> None:
    """Also when bytes drip in, and when it had an answer before."""
    monkeypatch.setattr(patience, "REQUEST_S", 0.5)
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        if answered:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(beginning)
        drip = b"" if not beginning else b"y" if b"\r\n\r\n" in beginning else b"X-Y: z\r\n"
        assert ends(connection, drip)


def test_an_answer_that_nobody_takes_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page larger than every buffer, and a reader that does not read."""
    monkeypatch.setattr(patience, "REQUEST_S", 0.5)
    site.state = {"long": "x" * 20_000_000}
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(2)
        received = 0
        connection.settimeout(60)
        with suppress(ConnectionError):
            while chunk := connection.recv(1 << 20):
                received += len(chunk)
    assert received < 20_000_000


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\x00\x01\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=["page", "alerts", "too long", "second", "tls", "version", "hosts"],
)
def test_nonsense_leaves_no_traceback(
    site: Site, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole at once, and with the nonsense only after the answer."""
    for cut in (len(request_bytes), request_bytes.find(b"\r\n\r\n") + 4):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
                connection.sendall(request_bytes[:cut])
                if cut < len(request_bytes):
                    connection.settimeout(0.1)
                    with suppress(TimeoutError, ConnectionError):
                        connection.recv(65536)
                    try:
                        connection.sendall(request_bytes[cut:])
                    except ConnectionError:
                        continue
                assert ends(connection, b"")
    assert site.ask("/healthz").code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_crowd_of_pages_is_told_to_come_back_and_keeps_no_alert_out(site: Site) -> None:
    """With as many requests under way as are worked on at once, a page is 503 and a halt is stored."""
    held = threading.Event()
    site.status = lambda: {"waited": held.wait(60)}  # type: ignore[method-assign]
    with ThreadPoolExecutor(MOST_REQUESTS + BEYOND) as pool:
        pages = [pool.submit(site.ask, "/api/v1/status") for _ in range(MOST_REQUESTS + BEYOND)]
        try:
            until(lambda: sum(page.done() for page in pages) == BEYOND)
            assert site.send(alert("training")).code == 200
            assert site.ask("/healthz").code == 200
            assert site.ask("/metrics").code == 200
        finally:
            held.set()
        assert Counter(page.result().code for page in pages) == {200: MOST_REQUESTS, 503: BEYOND}
