"""The rules of the house that no single module can keep: who imports whom, how long files are, what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gtloop

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core" / "gtloop"
PLUGINS = ROOT / "plugins" / "gtloop_plugins"

LONGEST = 300
LONGER = {
    "interfaces.py": "the one page that a plugin author reads; most of it is docstrings",
    "events.py": "all that can happen in a run, on one page; half of it is docstrings",
}
HEAVY = (
    *("torch", "torchvision", "timm", "sqlalchemy", "pyarrow", "scipy", "matplotlib", "jinja2"),
    *("fastapi", "uvicorn", "boto3", "botocore", "itsdangerous", "ray"),
)
MAY_IMPORT = {("commands/demo.py", "gtloop_plugins.demo")}
"""(plugin, other plugin) pairs that are no accident: the demo command is the door of the demo's pictures."""
LABEL_KINDS = {"bbox", "classification", "segmentation"}
MAY_NAME_KINDS = {
    "settings.py": "the default of run.task",
    "cli.py": "the default and the help of --task",
    "starter.py": "the commented gtloop.toml",
    "labels.py": "the shapes that built-in tasks share",
}


def _imports(path: Path, package: str) -> Iterator[str]:
    """Modules that a file imports, relative imports resolved, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _package(path: Path) -> str:
    return ".".join(path.relative_to(PLUGINS.parent).with_suffix("").parts[:-1])


def _owner(path: Path) -> str:
    """The plugin that a file belongs to: ``gtloop_plugins.KIND.NAME``, or ``gtloop_plugins.demo``."""
    parts = path.relative_to(PLUGINS.parent).with_suffix("").parts
    if parts[1] == "demo":
        return "gtloop_plugins.demo"
    name = parts[2]
    if parts[1] == "commands" and name == "reporting":  # the drawing half of the command report, and explain
        name = "report"
    return ".".join((*parts[:2], name))


def _modules() -> list[Path]:
    return sorted(p for p in PLUGINS.rglob("*.py") if p != PLUGINS / "__init__.py")


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PLUGINS.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PLUGINS)))
def test_no_plugin_imports_another(path: Path) -> None:
    if path.name == "__init__.py" and path.parent.parent == PLUGINS and path.parent.name != "demo":
        assert not list(_imports(path, _package(path))), "the folder of a kind is no plugin: it imports nothing"
        return
    owners = {_module(p): _owner(p) for p in _modules() if len(p.relative_to(PLUGINS).parts) > 1}
    own = _owner(path)
    others = {owners[name] for name in _imports(path, _package(path)) if name in owners} - {own}
    here = str(path.relative_to(PLUGINS))
    assert {o for o in others if (here, o) not in MAY_IMPORT} == set()


def test_plugins_import_of_each_other_only_what_exists() -> None:
    """The allowance above names files that are there and still need it."""
    for here, other in MAY_IMPORT:
        path = PLUGINS / here
        assert any(name.startswith(other) for name in _imports(path, _package(path)))


def test_core_never_imports_plugins() -> None:
    guilty = [
        f"{path.relative_to(CORE)}: {name}"
        for path in CORE.rglob("*.py")
        for name in _imports(path, "gtloop")
        if name.split(".")[0] == "gtloop_plugins"
    ]
    assert guilty == []


def _length(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_the_loop_can_be_read_in_one_sitting() -> None:
    assert _length(CORE / "loop.py") <= 240


def test_no_core_file_is_too_long() -> None:
    long = {str(p.relative_to(CORE)) for p in CORE.rglob("*.py") if _length(p) > LONGEST}
    assert long == LONGER.keys(), "a file over 300 lines needs a reason here; one that is not, none"


def test_core_knows_no_kind_of_label() -> None:
    """No string literal names a kind of label, so that core can't switch on one."""
    found: dict[str, list[int]] = {}
    for path in sorted(CORE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value in LABEL_KINDS:
                found.setdefault(path.name, []).append(node.lineno)
    assert {name: lines for name, lines in found.items() if name not in MAY_NAME_KINDS} == {}


def test_public_names_are_there_and_nothing_else() -> None:
    public = {n for n in vars(gtloop) if not n.startswith("_")}
    modules = {n for n in public if isinstance(getattr(gtloop, n), type(gtloop))}
    helpers = {"annotations", "Path", "TYPE_CHECKING"}
    assert public - modules - helpers == {n for n in gtloop.__all__ if not n.startswith("_")}
    assert all(hasattr(gtloop, n) for n in gtloop.__all__)


@pytest.mark.parametrize("code", ["import gtloop.cli", "from gtloop.cli import main; main(['--help'])"])
def test_starting_loads_no_heavy_library(code: str) -> None:
    script = (
        "import sys\n"
        f"try:\n    {code}\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED", "import it inside functions"
