"""How long ``gtloop --help`` takes, beside what it can't do without: ``import typer, rich, pydantic``.

Prints JSON: median seconds of each, and their ratio (goal: at most 2.5). The two take turns, so that a busy machine
slows both alike::

    python benchmarks/startup.py --rounds 15
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

HELP = "from gtloop.cli import main; main(['--help'])"
LEAST = "import typer, rich, pydantic"


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs ``code``."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for code in (HELP, LEAST):
        seconds(code)  # byte code and file cache
    pairs = [(seconds(HELP), seconds(LEAST)) for _ in range(rounds)]
    whole, least = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(json.dumps({"help_s": round(whole, 3), "imports_s": round(least, 3), "ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
