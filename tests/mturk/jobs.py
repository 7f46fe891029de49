"""Whole runs against an emulator, in processes that can be killed, and what has to be true of both books."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulator.client import KEYS, Process
from mturkkit import FAST, crew

import gtloop

sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))
import runs

HANG_S = 0.8
PRICE = "0.055"


def plan(task: str, n: int, faults: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """An emulator whose people answer at once; ``faults`` is the share of calls that go wrong."""
    broken = {"share": faults, "seed": seed, "hang_s": HANG_S + 0.3}
    return {"crew": crew(task, n), "auto": True, "shuffled": bool(faults), "faults": broken if faults else None}


def settings(images: Path, emulator: Process, task: str = "bbox", **changes: Any) -> Any:
    options = {**FAST, "endpoint": emulator.url, "timeout_s": HANG_S, "patience_s": 60}
    more = {f"annotators__mturk__{key}": value for key, value in options.items()}
    truth = images.parent / "truth.jsonl"
    kept = {"run__annotator": "mturk", "run__truth": None, "run__workers": 3, "prices__answer_usd": PRICE}
    return runs.settings(images, truth, task, **{**kept, **more, **changes})


def drive(root: Path, given: Any) -> None:
    """Start or resume, to the end."""
    os.environ.update(KEYS)
    runs.run_here(root, given, wait=True, yes=True)


def spawn(root: Path, given: Any) -> Any:
    child = runs.context.Process(target=drive, args=(root, given))
    child.start()
    return child


def kill_often(root: Path, given: Any, kills: int, rng: random.Random, seconds: float) -> int:
    """Drive to the end with at most ``kills`` kills at random moments; returns how many there were."""
    done = 0
    while True:
        child = spawn(root, given)
        if done < kills:
            child.join(rng.uniform(0.02, 1.0) * seconds)
        else:
            child.join()
        if child.exitcode is None:
            child.kill()
            done += 1
        child.join()
        if child.exitcode == 0:
            return done
        assert child.exitcode == -9, "a resumed run must never fail"


def said(root: Path) -> list[dict[str, Any]]:
    """Every label, floats rounded: the order of workers depends on their pseudonyms, and so do last digits."""
    return [_rounded(label.model_dump()) for label in gtloop.open(root).labels()]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def dollars(root: Path) -> tuple[int, int]:
    """(people, fees) as the ledger has them, micro-dollars."""
    bill = gtloop.open(root).state.facts.bill
    return bill.human, bill.fees


def check_books(emulator: Process, root: Path) -> None:
    """Both books agree: no HIT twice, no answer lost, every cent the same."""
    facts = gtloop.open(root).state.facts
    assert facts.finished
    assert dollars(root) == emulator.paid()
    assert emulator.ask("books")["held"] == 0
    twice = emulator.rows("SELECT annotation, count(*) AS n FROM hit GROUP BY annotation HAVING n > 1")
    assert twice == [], "posted twice"
    store = gtloop.open(root).store
    requests = sum(len(store.read(b.requests, ["request"])["request"]) for b in facts.batches.values())
    answers = sum(ref.rows for ref in facts.answer_files)
    (counts,) = emulator.rows("SELECT (SELECT count(*) FROM hit) AS hits, (SELECT count(*) FROM assignment) AS work")
    assert counts == {"hits": requests, "work": answers}
    assert not [c for c in emulator.ask("books")["calls"] if "misfit" in c], "a call that is not what the model says"
