"""The rooms keep their distance."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors", "tokenizers"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_loads_no_torch() -> None:
    """`import daemon.cli` and all commands load nothing of the training stack."""
    assert not loaded_by("import daemon.cli, daemon.cli.app") & HEAVY


def test_the_wired_daemon_loads_no_torch() -> None:
    """Nor does everything the daemon itself is built from."""
    assert (
        not loaded_by("import daemon.wiring.parts, daemon.service.service, daemon.stages.train.trainer")
        & HEAVY
    )


def test_help_loads_no_database_and_no_sdk() -> None:
    """Help stays instant because nothing heavy is imported for it."""
    loaded = loaded_by("import daemon.cli.app")
    assert not loaded & (
        HEAVY | {"sqlalchemy", "openai", "anthropic", "kafka", "fastapi", "pydantic_settings"}
    )


def test_files_are_made_durable_in_one_place() -> None:
    """Only `policies/durable` syncs: a copy of it would be a second chance to forget a step."""
    rooms = [path for room in ("policies", "connectors", "daemon") for path in (ROOT / room).rglob("*.py")]
    syncing = [path for path in rooms if "fsync(" in path.read_text(encoding="utf-8")]
    assert syncing == [ROOT / "policies" / "durable.py"]


def test_imports_point_one_way() -> None:
    """Daemon → connectors → policies, and torch only in policies.training."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def arrows(root: Path) -> set[str]:
    """Every import of one stage by another under the root, as `file: module`."""
    found = set()
    for path in sorted((root / "daemon" / "stages").glob("*/**/*.py")):
        own = path.relative_to(root).parts[2]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
            elif isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            else:
                continue
            for module in modules:
                parts = module.split(".")
                if parts[:2] == ["daemon", "stages"] and len(parts) > 2 and parts[2] != own:
                    found.add(f"{path.relative_to(root)}: {'.'.join(parts[:3])}")
    return found


def test_no_stage_imports_another() -> None:
    """They meet in the store alone; what two need belongs to the ground, to `policies` or to the store."""
    assert arrows(ROOT) == set()


def test_an_import_between_stages_is_found(tmp_path: Path) -> None:
    """Whichever way it is written, and wherever in the file."""
    stages = tmp_path / "daemon" / "stages"
    for name in ("gate", "curate", "watch"):
        (stages / name).mkdir(parents=True)
    (stages / "gate" / "evaluate.py").write_text("from daemon.stages.gate.evidence import gather\n")
    (stages / "watch" / "watch.py").write_text("def step():\n    import daemon.stages.gate.evidence\n")
    (stages / "curate" / "sample.py").write_text("from daemon.stages import watch\n")
    assert arrows(tmp_path) == {
        "daemon/stages/watch/watch.py: daemon.stages.gate",
        "daemon/stages/curate/sample.py: daemon.stages.watch",
    }


def test_one_class_has_one_name() -> None:
    """A name that two files give to two things makes every reader ask which."""
    homes: dict[str, set[str]] = {}
    for path, made in classes(ROOT):
        homes.setdefault(made.name, set()).add(path)
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


MOST_PARAMETERS = 9
COMPOSED_BY_ITSELF = {"daemon/stages/judge/asker.py: Asker"}
"""Constructors that still take the makings of what wiring should hand them. Nothing is added here."""


def classes(root: Path) -> list[tuple[str, ast.ClassDef]]:
    """Every class of the three packages, nested ones too, with its file."""
    return [
        (str(path.relative_to(root)), node)
        for package in ("connectors", "daemon", "policies")
        for path in sorted((root / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]


def parameters(made: ast.ClassDef) -> int:
    """How many parameters the class's own constructor takes; 0 without one."""
    for node in made.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - 1
    return 0


def test_a_constructor_is_handed_few_things() -> None:
    """Values that belong together are one value with a name; what is made of parts is made in wiring."""
    many = {
        f"{path}: {made.name}"
        for path, made in classes(ROOT)
        if parameters(made) > MOST_PARAMETERS and not path.startswith("daemon/wiring/")
    }
    assert many == COMPOSED_BY_ITSELF
