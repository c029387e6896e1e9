"""Whether a daemon runs on this state directory, and what only it knows, asked at its listener."""

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.children.alive import another_lives
from daemon.config.settings import WebConfig
from daemon.service.instance import FILE

PATIENCE_S = 3.0
MOST_BYTES = 16 << 20


def ask(web: WebConfig, token: str | None, state_dir: Path) -> Mapping[str, Any]:
    """The daemon's own part of its status, with its `conditions`; without an answer, only `said`.

    `said` is a line: that it runs, that it does not, or that it does and does not answer.
    """
    found = _status(web, token)
    daemon = found.get("daemon")
    where = f"{web.host}:{web.port}"
    if isinstance(daemon, Mapping) and daemon.get("state_dir") == str(state_dir.resolve()):
        said = f"runs with pid {daemon.get('pid')}"
        return {**daemon, "runs": True, "said": said, "conditions": list(found.get("conditions", ()))}
    pid = _holder(state_dir)
    if pid is None:
        said = f"no daemon runs on {state_dir}: nothing is read, judged or trained until `rlaifd run`"
        return {"runs": False, "said": said, "conditions": []}
    said = f"runs with pid {pid}, and does not answer at {where}: what only it knows is not shown"
    return {"runs": True, "pid": pid, "said": said, "conditions": []}


def _status(web: WebConfig, token: str | None) -> Mapping[str, Any]:
    """The status object of whoever listens there; {} where nobody does or it is none."""
    if web.port == 0:
        return {}
    request = urllib.request.Request(f"http://{_address(web.host)}:{web.port}/api/v1/status")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=PATIENCE_S) as answer:
            found = json.loads(answer.read(MOST_BYTES))
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _address(host: str) -> str:
    """Where a listener on the host is reached from this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def _holder(state_dir: Path) -> int | None:
    """The process that holds the state directory, as its lock file names it; None where it has ended."""
    file = state_dir / FILE
    try:
        pid, since = int(file.read_text(encoding="ascii").strip() or 0), file.stat().st_mtime
    except (OSError, ValueError):
        return None
    return pid if pid and another_lives(pid, since) else None
