"""Where a model is put: which device, in which precision, and how much memory is there for it."""

import os
from pathlib import Path

import torch

from policies.training.errors import JobError
from policies.training.jobs import Bf16, Device, Turns

GB = 1_000_000_000
CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNLIMITED = 1 << 60
"""Version 1 of control groups writes no limit as a number near the largest one."""


def chosen(device: Device) -> torch.device:
    """The device that is meant. Raises JobError where it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise JobError("device is cuda and this machine has none: set training.device to auto or cpu")
    return torch.device(device)


def taken_in_turns(turns: Turns, device: Device) -> bool:
    """Whether a job on the device may not run beside another. Two copies of a model rarely fit on a card."""
    on_card = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return turns == "always" or (turns == "auto" and on_card)


def precision(device: torch.device, bf16: Bf16) -> torch.dtype:
    """bfloat16 on cards that have it in hardware, unless it is off; float32 elsewhere.

    Emulated bfloat16 is several times slower than float32, on processors and on older cards.
    """
    if bf16 == "off" or device.type != "cuda":
        return torch.float32
    there = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if there else torch.float32


def memory(device: torch.device, memory_gb: float | None) -> int | None:
    """Bytes that a job of this process may take on the device, with what it has taken already.

    `memory_gb` (10^9 bytes) is the user's word and decides. Of a card it is what is free; of a machine what
    is available or what the control groups above this process leave, whichever is less. None: nobody can say.
    """
    if memory_gb is not None:
        return int(memory_gb * GB)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    found = [_available(PROC), *_left_by_groups(PROC, CGROUP)]
    known = [amount for amount in found if amount is not None]
    return min(known) + _own(PROC) if known else None


def _available(proc: Path) -> int | None:
    """What the kernel thinks new work can have without swapping."""
    return _field(proc / "meminfo", "MemAvailable:", unit=1024)


def _own(proc: Path) -> int:
    """What this process holds already and would not have to be given again."""
    return _field(proc / "self" / "status", "RssAnon:", unit=1024) or 0


def _left_by_groups(proc: Path, cgroup: Path) -> list[int]:
    """What each control group above this process leaves: its limit minus its use, file caches aside."""
    found: list[int] = []
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = cgroup, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = cgroup / "memory"
        else:
            continue
        below = top / path.lstrip("/")
        groups = [below, *below.parents]
        for group in groups[: len(groups) - len(top.parents)]:
            left = _left(group, *names)
            if left is not None:
                found.append(left)
    return found


def _left(group: Path, limit_name: str, used_name: str, cache: str) -> int | None:
    limit, used = _text(group / limit_name).strip(), _text(group / used_name).strip()
    if not limit.isdecimal() or not used.isdecimal() or int(limit) >= UNLIMITED:
        return None
    cached = _field(group / "memory.stat", cache, unit=1) or 0
    return max(0, int(limit) - int(used) + cached)


def _field(path: Path, name: str, *, unit: int) -> int | None:
    """A number after a name at the beginning of a line, in bytes."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1]) * unit
    return None


def _text(path: Path) -> str:
    """The file's text; nothing where it is not there or may not be read."""
    if not os.access(path, os.R_OK):
        return ""
    return path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""
