"""The contract suite itself: its front ends, its docstrings, its tiny data; ``test_broken.py`` has what it catches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gtloop.registry import Registry
from gtloop.testing import ALL_CHECKS, verdicts
from gtloop.testing.fakes import tiny_items, tiny_truth
from gtloop_plugins.samplers.random import Random


def test_heavy_imports_are_caught(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import matplotlib\nfrom gtloop_plugins.samplers.random import Random\nclass Heavy(Random):\n    pass\n"
    (tmp_path / "heavy_plugin_under_test.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import heavy_plugin_under_test

    failed = {v.check: v.message for v in verdicts(heavy_plugin_under_test.Heavy, registry) if not v.ok}
    assert failed == {
        "check_import_is_light": "importing heavy_plugin_under_test imports matplotlib: import inside functions"
    }


def test_a_sound_plugin_has_no_failed_verdict(registry: Registry) -> None:
    found = verdicts(Random, registry)
    assert [v.check for v in found] == [c.__name__ for c in ALL_CHECKS["sampler"]]
    assert all(v.ok for v in found)


def test_every_check_says_what_holds() -> None:
    for checks in ALL_CHECKS.values():
        names = [c.__name__ for c in checks]
        assert len(set(names)) == len(names)
        assert all(n.startswith("check_") for n in names)
        assert all((c.__doc__ or "").partition("\n")[0].endswith((".", ";")) for c in checks)


def test_tiny_items_are_the_same_everywhere(tmp_path: Path) -> None:
    from gtloop.images import open_image

    first, second = tiny_items(tmp_path / "a", 5), tiny_items(tmp_path / "b", 5)
    for a, b in zip(first, second, strict=True):
        assert Path(a.uri).read_bytes() == Path(b.uri).read_bytes()
    truths = tiny_truth("bbox", 5)
    assert truths is not None
    assert truths[4] == {"boxes": []}
    for item, truth in zip(first, truths, strict=True):
        bright = np.asarray(open_image(item.uri)).max(axis=2) > 120
        inside = np.zeros_like(bright)
        for box in truth["boxes"]:
            x1, y1, x2, y2 = (int(v) for v in box["xyxy"])
            inside[y1:y2, x1:x2] = True
        assert (bright == inside).all()


CONTRACT = """
from gtloop.interfaces import Pick
from gtloop.testing import SamplerContract
from gtloop_plugins.samplers.random import Random

class First(Random):
    def select(self, view, n, rng):
        return Pick(view.rows[:n], "first")

class TestFirst(SamplerContract):
    plugin = First

class TestKnown(SamplerContract):
    plugin = First
    known_failures = {"check_ties_are_broken_at_random": "on purpose"}

class TestStrict(SamplerContract):
    plugin = Random
    known_failures = {"check_seed_decides": "not true"}
"""


@pytest.mark.slow
def test_the_contract_classes_run_in_plain_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(CONTRACT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2, done.stdout
    assert "TestFirst::test_contract[check_ties_are_broken_at_random]" in failed[0]
    assert "TestStrict::test_contract[check_seed_decides]" in failed[1]
    assert "1 xfailed" in done.stdout
