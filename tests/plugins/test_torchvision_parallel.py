"""A fit of ``torchvision`` in two real processes: the same steps as in one, each with its share of every batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="gtloop[vision] is not installed")

MEMBER = """
import json, sys
from pathlib import Path

import numpy as np
import torch

from gtloop.interfaces import Context, Example, Form
from gtloop.testing.fakes import CATEGORIES, tiny_items, tiny_truth
from gtloop_plugins.detectors.torchvision import TorchvisionDetector
from gtloop_plugins.detectors.torchvision import parallel
from gtloop_plugins.detectors.torchvision.schedule import Schedule, optimise

folder, rank, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if workers > 1:
    torch.distributed.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=workers)


def line(examples, batch):
    torch.manual_seed(7 + rank)  # all start from the first one's weights
    net = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ("body", "head", "idle")})
    x = torch.linspace(-1, 1, 20)[:, None]
    seen = []

    def loss(net, indices):
        return (net["head"](net["body"](x[indices])) - 2 * x[indices]).square().mean()

    def loss_of(indices):
        seen.append(indices.tolist())
        return loss(net, indices)

    def held_out(other, indices):
        return float(loss(other, indices))

    schedule = Schedule(40, batch, 0.1, 0.1, 0.0, 0.9, 0.2)
    learn, held = np.arange(examples), np.arange(examples, examples + 5)
    state, figures = optimise(
        net, net["body"], learn, schedule, np.random.default_rng(0), loss_of, lambda *a, **k: None, held_out, held
    )
    return {"state": {k: v.tolist() for k, v in state.items()}, "figures": figures, "seen": seen}


def fit(task):
    items, truth = tiny_items(folder / f"images{rank}", 8), tiny_truth(task, 8)
    context = Context(categories=CATEGORIES, form=Form(task=task, instructions="", primitives=()))
    options = TorchvisionDetector.Options(
        image_size=64, class_size=64, mask_size=64, channels=8, min_steps=3, max_steps=3, device="cpu"
    )
    model = folder / f"{task}{rank}"
    figures = TorchvisionDetector(options, context).fit([Example(i, t) for i, t in zip(items, truth)], model, seed=3)
    return figures


told = {
    "line": line(14, 4),
    "small": line(3, 1),
    "views": parallel.views(5).random(),
    "fits": {task: fit(task) for task in ("bbox", "classification", "segmentation") if workers > 1},
}
(folder / f"told{rank}.json").write_text(json.dumps(told))
"""


def fitted(folder: Path, workers: int) -> list[dict[str, Any]]:
    """What each of so many processes that fit together tells."""
    folder.mkdir()
    started = [
        subprocess.Popen([sys.executable, "-c", MEMBER, str(folder), str(rank), str(workers)], stderr=subprocess.PIPE)
        for rank in range(workers)
    ]
    for process in started:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()[-2000:]
    return [json.loads((folder / f"told{rank}.json").read_text()) for rank in range(workers)]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """What one process tells, what each of two tells, and where their models lie."""
    folder = tmp_path_factory.mktemp("parallel")
    return fitted(folder / "one", 1)[0], fitted(folder / "two", 2), folder / "two"


@pytest.mark.parametrize("case", ["line", "small"])
def test_two_processes_take_the_steps_of_one(together: Any, case: str) -> None:
    """Also where a batch is no multiple of two, or has an example for one of them only."""
    one, two, _ = together
    for told in two:
        for name, value in one[case]["state"].items():
            assert np.array(told[case]["state"][name]) == pytest.approx(np.array(value), abs=1e-5), name
        assert told[case]["figures"] == pytest.approx(one[case]["figures"], abs=1e-5)
    assert two[0][case]["figures"] == two[1][case]["figures"]


def test_each_computes_its_share_of_every_batch(together: Any) -> None:
    one, (first, second), _ = together
    whole = one["line"]["seen"]
    shares = list(zip(first["line"]["seen"], second["line"]["seen"], strict=True))
    assert [a + b for a, b in shares] == whole
    assert {len(a) - len(b) for a, b in shares} <= {0, 1}


def test_each_draws_views_of_its_own(together: Any) -> None:
    one, (first, second), _ = together
    assert first["views"] == one["views"]
    assert second["views"] != first["views"]


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_all_end_with_one_model(together: Any, task: str) -> None:
    _, told, folder = together
    assert told[0]["fits"][task] == told[1]["fits"][task]
    a, b = (torch.load(folder / f"{task}{rank}" / "model.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
