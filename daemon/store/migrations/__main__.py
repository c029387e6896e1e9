"""Writes a revision from what tables.py has and the revisions so far lack, for whoever changes tables.py.

`python -m daemon.store.migrations "add this and that"` writes the next one; `--first` rewrites the first one,
which is right only as long as no database made by it is in use.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from daemon.store.schema import MIGRATIONS, revisions, upgrade
from daemon.store.store import Store

VERSIONS = MIGRATIONS / "versions"
FIRST = "0001"


def main(message: str, *, first: bool) -> None:
    """Compares with a new database that has every revision so far, or none."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'scratch.db'}")
        if first:
            revision = _replace_first(store, config)
        else:
            upgrade(store)
            revision = _write(store, config, message, f"{int(revisions()[-1]) + 1:04}", "head")
        store.close()
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(revision)], check=True)


def _replace_first(store: Store, config: Config) -> Path:
    """Writes the first revision as if there were no other, then brings the others back."""
    with tempfile.TemporaryDirectory() as folder:
        others = [file for file in VERSIONS.glob("[0-9]*.py") if not file.name.startswith(FIRST)]
        kept = {file: file.read_text() for file in others}
        for file in VERSIONS.glob("[0-9]*.py"):
            file.rename(Path(folder) / file.name)
        try:
            return _write(store, config, "initial", FIRST, "base")
        finally:
            for file, text in kept.items():
                file.write_text(text)


def _write(store: Store, config: Config, message: str, revision: str, after: str) -> Path:
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.revision(config, message, autogenerate=True, rev_id=revision, head=after)
    file = next(VERSIONS.glob(f"{revision}_*.py"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.strip().startswith("# ###")))
    return file


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--first"]
    main(" ".join(words) or "change", first="--first" in sys.argv[1:])
