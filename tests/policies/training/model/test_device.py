"""What a machine says about its memory, and in which precision a model is loaded."""

from pathlib import Path

import pytest
import torch

from policies.training.errors import JobError
from policies.training.model import device

GB = 1_000_000_000
CPU = torch.device("cpu")
pytestmark = [pytest.mark.training]


class Machine:
    """A /proc and a /sys/fs/cgroup of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.cgroup = root / "proc", root / "cgroup"
        monkeypatch.setattr(device, "PROC", self.proc)
        monkeypatch.setattr(device, "CGROUP", self.cgroup)
        self.write("proc/meminfo", "MemTotal: 64000000 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\n")
        self.write("proc/self/status", "VmRSS: 900000 kB\nRssAnon:\t  500000 kB\n")
        self.write("proc/self/cgroup", "0::/\n")

    def write(self, path: str, text: str) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_is_available_counts_with_what_the_process_has(machine: Machine) -> None:
    """The kernel's figure, and what this process would not have to be given again."""
    del machine
    assert device.memory(CPU, None) == (20_000_000 + 500_000) * 1024


def test_the_user_has_the_last_word(machine: Machine) -> None:
    """In units of 10^9 bytes."""
    del machine
    assert device.memory(CPU, 2.5) == 2_500_000_000


@pytest.mark.parametrize(
    ("lines", "files", "left"),
    [
        (
            "0::/a/b\n",
            {"a/b/memory.max": "max\n", "a/memory.max": "3000", "a/memory.current": "1000",
             "a/memory.stat": "anon 5\ninactive_file 400\n"},
            2400,
        ),
        ("0::/\n", {"memory.max": "5000\n", "memory.current": "6000\n"}, 0),
        (
            "12:pids:/x\n4:cpu,memory:/x\n0::/\n",
            {"memory/x/memory.limit_in_bytes": "9000", "memory/x/memory.usage_in_bytes": "2000",
             "memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
             "memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
            7500,
        ),
        ("0::/../outside\n", {"memory.max": "max"}, None),
    ],
)  # fmt: skip
def test_the_tightest_limit_above_the_process_counts(
    machine: Machine, lines: str, files: dict[str, str], left: int | None
) -> None:
    """Both versions of control groups, wherever the limit is set; caches can be given up."""
    machine.write("proc/self/cgroup", lines)
    for path, text in files.items():
        machine.write(f"cgroup/{path}", text)
    expected = 20_000_000 * 1024 if left is None else left
    assert device.memory(CPU, None) == expected + 500_000 * 1024


def test_a_machine_that_says_nothing_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused then."""
    monkeypatch.setattr(device, "PROC", tmp_path / "none")
    monkeypatch.setattr(device, "CGROUP", tmp_path / "none")
    assert device.memory(CPU, None) is None


def test_this_machine_has_memory() -> None:
    """Whatever it is, it holds this process."""
    found = device.memory(CPU, None)
    assert found is None or found > 0.1 * GB


class Card:
    """A CUDA device as torch describes it."""

    type = "cuda"


@pytest.mark.parametrize("hardware", [True, False])
def test_bfloat16_only_where_the_card_has_it(hardware: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulation is not asked for, a processor never, and `off` is off."""

    def supported(including_emulation: bool = True) -> bool:
        return hardware or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    card: torch.device = Card()
    assert device.precision(card, "auto") == (torch.bfloat16 if hardware else torch.float32)
    assert device.precision(card, "off") == torch.float32
    assert device.precision(CPU, "auto") == torch.float32


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key to change."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(JobError, match=r"set training\.device to auto or cpu"):
        device.chosen("cuda")
    assert device.chosen("auto").type == "cpu"


def test_a_card_is_taken_in_turns_and_a_processor_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two copies of a model rarely fit on a card; on a processor jobs run side by side."""
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device.taken_in_turns("auto", "auto") is there
        assert not device.taken_in_turns("auto", "cpu")
        assert device.taken_in_turns("auto", "cuda")
        assert device.taken_in_turns("always", "cpu")
        assert not device.taken_in_turns("never", "cuda")
