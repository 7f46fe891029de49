"""Runs the shell blocks of a page the way a reader would: from the top, in one folder that stays where ``cd`` led."""

from __future__ import annotations

import os
import re
import signal
import site
import subprocess
import sys
import venv
from contextlib import suppress
from pathlib import Path

from pages import SHELLS, Block, blocks, commands

TIMEOUT_S = 900
PROGRAMS = {"gtloop": "gtloop", "pip": "pip", "pytest": "pytest"}


class Shell:
    """One reader's terminal: what a command leaves running ends with ``close``.

    Args:
        folder: Where the reader starts.
        programs: Folder of ``python``, ``gtloop``, ``pip`` and ``pytest``; default: those of these tests.
    """

    def __init__(self, folder: Path, programs: Path | None = None, **env: str) -> None:
        self.cwd = folder
        self._cwd_file = folder / ".cwd"
        self._groups: list[int] = []
        path = os.pathsep.join([str(programs or Path(sys.executable).parent), os.environ["PATH"]])
        fixed = {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": "", "GTLOOP_DOCS_CWD": ""}
        self._env = {**os.environ, **fixed, "GTLOOP_DOCS_CWD": str(self._cwd_file), **env}

    def run(self, command: str) -> tuple[int, str]:
        """(exit code, output and errors) of a command; the next one starts where this one ended."""
        log = self._cwd_file.with_name(".output")
        with log.open("wb") as out:
            script = f"trap 'pwd > \"$GTLOOP_DOCS_CWD\"' EXIT\n{command}"
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            code = process.wait(TIMEOUT_S)
        self.cwd = Path(self._cwd_file.read_text().strip())
        return code, log.read_text("utf-8", errors="replace")

    def close(self) -> None:
        """End what the commands left running."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def is_shell(block: Block) -> bool:
    return block.language in SHELLS and not block.skipped and not block.benchmark


def run_page(page: Path, shell: Shell, slow: bool = False) -> str:
    """Write the files and run the commands of a page in order; returns all output.

    Raises:
        AssertionError: A command ends with another code, or does not print what the page shows.
    """
    everything = []
    for block in blocks(page):
        if block.file:
            path = shell.cwd / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        if not is_shell(block) or (block.slow and not slow):
            continue
        steps = commands(block)
        for n, (command, shown) in enumerate(steps, 1):
            code, output = shell.run(command)
            everything.append(output)
            expected = block.code if n == len(steps) else 0
            report = f"{block.where}: {command}\n{output}"
            assert code == expected, f"exit code {code}, not {expected}\n{report}"
            missing = not_shown(shown, output)
            assert missing is None, f"shown, but not printed: {missing}\n{report}"
    return "".join(everything)


def not_shown(shown: list[str], output: str) -> str | None:
    """The first shown line that the output does not have, in order; ``...`` stands for anything."""
    lines = iter(line.rstrip() for line in output.splitlines())
    for want in shown:
        if want.strip() == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in want.rstrip().split("...")))
        if not any(pattern.fullmatch(line) for line in lines):
            return want
    return None


def fresh_programs(folder: Path) -> tuple[Path, dict[str, str]]:
    """A virtual environment that sees what these tests see, and into which ``pip install`` may write.

    It has no copy of anything: a ``.pth`` file leads to the packages of this environment, and ``gtloop``, ``pip`` and
    ``pytest`` are scripts that run theirs in the new one. ``pip`` asks no index and builds with what is installed.

    Returns:
        Its folder of programs, and the variables to run them with.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lead = "".join(f"import site; site.addsitedir({p!r})\n" for p in site.getsitepackages())
    (folder / "lib" / version / "site-packages" / "of_these_tests.pth").write_text(lead)
    programs = folder / "bin"
    for name, module in PROGRAMS.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{programs / "python"}" -m {module} "$@"\n')
        script.chmod(0o755)
    quiet = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return programs, {**quiet, "VIRTUAL_ENV": str(folder)}
