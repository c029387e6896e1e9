"""Runs every benchmark and leaves bench.json: one flat object of numbers."""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from tests import benchmarks


def main() -> None:
    """Runs the named benchmarks, or all, and writes what they measured."""
    wanted = sys.argv[1:]
    figures: dict[str, float] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__)):
        if module == "__main__" or (wanted and module not in wanted):
            continue
        print(f"{module} …", flush=True)
        measured = importlib.import_module(f"tests.benchmarks.{module}").run()
        for name, value in sorted(measured.items()):
            print(f"  {name:<42}{value:12.3f}", flush=True)
        figures |= measured
    Path("bench.json").write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
