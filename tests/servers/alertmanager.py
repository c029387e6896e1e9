"""A real Alertmanager: the binary on the path, on a free loopback port, in a private folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.requirements import missing
from tests.servers.processes import free_port, running


@contextmanager
def routing(settings: dict[str, Any], *, folder: Path) -> Iterator[str]:
    """An Alertmanager with this configuration; returns its host:port."""
    names = ("alertmanager", "prometheus-alertmanager")
    binary = next((found for name in names if (found := shutil.which(name))), None)
    if binary is None:
        missing("alertmanager", "no alertmanager on the path: install Debian's prometheus-alertmanager")
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    command = [
        binary,
        "--config.file=alertmanager.yml",
        "--storage.path=data",
        "--cluster.listen-address=",
        f"--web.listen-address={address}",
    ]
    with running(command, folder=folder, ready=f"http://{address}/-/ready"):
        yield address
