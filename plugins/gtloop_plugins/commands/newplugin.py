"""``gtloop plugins new``: a whole distribution around a small working plugin, as a third party would publish it.

The files come from ``skeletons/``: ``common`` holds what all kinds share, the folder of a kind its plugin, the test of
its contract and how it is used. Tokens such as ``@name@`` are replaced.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtloop.errors import NameClash, UsageError

if TYPE_CHECKING:
    from gtloop.registry import Registry

SUMMARIES = {
    "task": "counts the objects of an image; quality is 1 - relative error",
    "annotator": "one JSON file for each image in open/, answers into answers/",
    "detector": "finds regions brighter than a learnt threshold",
    "sampler": "takes the images with the most predicted objects",
    "score": "mixes the least and the mean confidence of an image's objects",
    "format": "tab-separated boxes, one line for each",
    "executor": "fits and predicts in this process, one batch after the other",
    "observer": "adds a line to a table whenever labels arrive",
}
"""Kind to what its skeleton does: the summary of the plugin and of the distribution."""

FILES = {
    "pyproject.toml": "common/pyproject.toml.tmpl",
    "README.md": "common/README.md.tmpl",
    "CHANGELOG.md": "common/CHANGELOG.md.tmpl",
    "LICENSE": "common/LICENSE.tmpl",
    ".gitignore": "common/gitignore.tmpl",
    ".github/workflows/test.yml": "common/workflow.yml.tmpl",
    "src/@module@/__init__.py": "common/init.py.tmpl",
    "src/@module@/plugin.py": "@kind@/plugin.py.tmpl",
    "src/@module@/py.typed": "",
    "tests/test_contract.py": "@kind@/test_contract.py.tmpl",
}
"""Path in the distribution to its skeleton; an empty one makes an empty file."""

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 30
"""Longest name, so that lines with it stay below 120 columns."""
TOKEN = re.compile(r"@(\w+)@")


def register(commands: typer.Typer) -> None:
    """Add ``new`` to the commands of ``gtloop plugins``; once, however often the program is built."""
    if not any(command.name == "new" for command in commands.registered_commands):
        commands.command("new")(new)


def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the plugin: a-z, 0-9 and single hyphens.")],
    kind: Annotated[str, typer.Option("--kind", help=f"{', '.join(SUMMARIES)}.")],
    out: Annotated[Path, typer.Option("--out", help="Folder in which gtloop-NAME/ is made.")] = Path("."),
) -> None:
    """Write a small working plugin with tests, ready to install and publish: gtloop-NAME/."""
    check_kind(kind)
    check_name(name, ctx.obj.registry)
    folder = write(name, kind, out)
    typer.echo(f"{folder} holds a small {kind} that works; make src/{module_of(name)}/plugin.py yours. Next:")
    typer.echo(f"  cd {folder}\n  pip install -e '.[dev]'\n  pytest\n  gtloop plugins check {name}")


def check_kind(kind: str) -> None:
    """Raise UsageError unless there is such a kind of plugin."""
    if kind not in SUMMARIES:
        raise UsageError(f"no kind named {kind!r}; there are: {', '.join(SUMMARIES)}")


def check_name(name: str, registry: Registry) -> None:
    """Check that a plugin and its package can have this name.

    Raises:
        UsageError: It is not a slug that starts with a letter, too long, or starts with ``gtloop-``.
        NameClash: An installed plugin or package has it.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"name {name!r}: use at most {LONGEST} of a-z, 0-9 and single hyphens, a letter first, such as most-objects"
        )
    if name.startswith("gtloop-"):
        raise UsageError(f"name {name!r}: leave out 'gtloop-', the distribution gets it by itself")
    for kind in SUMMARIES:
        for p in registry.providers(kind):
            if name in (p.cls.name, p.plugin):
                by = f"{p.distribution} {p.version}".strip()
                raise NameClash(f"name {name!r} is taken by {kind} {p.cls.name!r} ({by}); choose another")
    if importlib.util.find_spec(module_of(name)) is not None:
        raise NameClash(f"name {name!r}: a package {module_of(name)} is installed already; choose another name")


def write(name: str, kind: str, out: Path) -> Path:
    """Write ``out/gtloop-NAME`` and return it.

    Raises:
        UsageError: The folder is there already, or can't be written.
    """
    folder = out / f"gtloop-{name}"
    if folder.exists():
        raise UsageError(f"{folder} is there already; remove it, or choose another folder with --out")
    try:
        for path, text in render(name, kind).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as e:
        raise UsageError(f"cannot write {folder}: {e.strerror or e}; choose another folder with --out") from e
    return folder


def render(name: str, kind: str) -> dict[str, str]:
    """Path to text of every file of a new distribution."""
    tokens = {
        "name": name,
        "module": module_of(name),
        "kind": kind,
        "Base": kind.capitalize(),
        "Class": "".join(part.capitalize() for part in name.split("-")) + kind.capitalize(),
        "summary": SUMMARIES[kind],
    }
    tokens["usage"] = _fill(_skeleton(f"{kind}/usage.md.tmpl"), tokens).strip()
    return {
        _fill(path, tokens): _fill(_skeleton(_fill(source, tokens)), tokens) if source else ""
        for path, source in FILES.items()
    }


def module_of(name: str) -> str:
    """The import name of a plugin's package."""
    return f"gtloop_{name.replace('-', '_')}"


def _skeleton(path: str) -> str:
    root: Traversable = resources.files("gtloop_plugins.commands")
    return root.joinpath("skeletons", *path.split("/")).read_text("utf-8")


def _fill(text: str, tokens: Mapping[str, str]) -> str:
    """Replace the tokens that are known; a token that is not is a fault of the skeleton, and left for tests to find."""
    return TOKEN.sub(lambda match: tokens.get(match[1], match[0]), text)
