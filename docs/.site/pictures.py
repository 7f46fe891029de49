"""Draws the pictures of docs/promise-in-pictures.md, by simulation with gtloop's own functions.

    python docs/.site/pictures.py            # writes docs/img/promise-*.svg and prints the figures in them
    python docs/.site/pictures.py --check    # exits with 1 where these are not the files that are there

Scores and qualities are those of ``benchmarks/promise.py``: its "medium" model, 200 validation images, 600 others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(Path(__file__).parent)]

from promise import draw, evidence  # noqa: E402
from svg import BROKEN, GREY, INK, MACHINE, PALE, PEOPLE, Axis, Card  # noqa: E402

from gtloop.labels import iou_matrix  # noqa: E402
from gtloop.promise import Promise, certify  # noqa: E402
from gtloop.running import running_bounds  # noqa: E402
from gtloop.wording import counted  # noqa: E402

TARGET, DELTA = 0.6, 0.1
VALIDATION, POOL = 200, 600
JOBS = 100
Array = np.ndarray


@dataclass(frozen=True)
class Job:
    """One simulated job: what the look said, and what is true."""

    labels: Array  # quality of each machine label
    bound: float | None = None
    estimate: float | None = None

    @property
    def true(self) -> float:
        return float(self.labels.mean())


def simulate(
    seed: int, rule: str, validation: Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]
) -> Job | None:
    """A look at one job; None where it labels nothing.

    Args:
        seed: Of all that is drawn.
        rule: Of the promise.
        validation: Scores and qualities to which images validate, and what quality they then show.
    """
    rng = np.random.default_rng((17, seed))
    score, y = draw(rng, "medium", VALIDATION + POOL)
    chosen, shown = validation(score, y, rng)
    promise = Promise("selective", "mean IoU", TARGET, DELTA, rule)  # type: ignore[arg-type]
    (result,), accepted = certify(evidence(score, shown, chosen, rng), promise, DELTA, len(y))
    mine = accepted & ~chosen
    return Job(y[mine], result.bound, result.estimate) if mine.any() else None


def blind(score: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random images, whose people saw nothing of the model."""
    return np.arange(len(y)) < VALIDATION, y


def led(score: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random images, but people were shown the model's label, and took over a quarter of what was wrong in it."""
    return np.arange(len(y)) < VALIDATION, y + 0.25 * (1 - y)


def handpicked(score: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Images that somebody thought fit for a test: clear ones, which are good ones, more often than others."""
    keys = rng.random(len(y)) ** (1 / (0.25 + y))  # Efraimidis and Spirakis, weighted without replacement
    return np.argsort(np.argsort(-keys)) < VALIDATION, y


def jobs(rule: str, validation: Callable[..., tuple[Array, Array]] = blind) -> list[Job | None]:
    return [simulate(seed, rule, validation) for seed in range(JOBS)]


# ------------------------------------------------------------------------------------------ pictures


def what() -> str:
    """IoU of single boxes, and the labels of one job whose mean is above .6."""
    card = Card(
        400, "Boxes with an IoU of 0.9, 0.75, 0.6 and 0.3, and the single labels of a job that keeps its promise"
    )
    card.text(24, 32, "How much two boxes agree: IoU", bold=True)
    card.rect(482, 20, 14, 14, stroke=PEOPLE)
    card.text(503, 32, "people", size=12)
    card.rect(562, 20, 14, 14, stroke=MACHINE)
    card.text(583, 32, "machine", size=12)
    w, h = 84.0, 62.0
    for i, wanted in enumerate((0.9, 0.75, 0.6, 0.3, None)):
        x, y = 38 + i * 144, 56
        card.rect(x, y, w, h, stroke=PEOPLE, fill=PEOPLE, opacity=0.08)
        if wanted is None:
            card.text(x + w / 2, 152, "missed: 0", anchor="middle")
            continue
        d = min(np.linspace(0, 60, 6001), key=lambda d: abs(_shifted(w, h, d) - wanted))
        card.rect(x + d, y + d * h / w, w, h, stroke=MACHINE)
        card.text(x + w / 2, 152 if wanted > 0.5 else 168, f"{_shifted(w, h, d):.2f}", anchor="middle")
    job = _typical()
    card.text(24, 206, f"One job: the {len(job.labels)} labels by machine, by their quality", bold=True)
    axis = Axis(card, 0, 1, 40, 720, 350)
    counts, edges = np.histogram(job.labels, bins=20, range=(0, 1))
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        height = count / counts.max() * 100
        card.rect(axis.x(left) + 1, 350 - height, axis.x(right) - axis.x(left) - 2, height, fill=MACHINE, opacity=0.75)
    axis.draw([0, 0.2, 0.4, 0.6, 0.8, 1], "quality of one image", "{:.1f}")
    axis.mark(job.true, 236, f"mean {job.true:.2f}")
    bad = int((job.labels < 0.3).sum())
    card.text(axis.x(0.02), 250, f"{bad} of {len(job.labels)} are below 0.3,", fill=GREY, size=13)
    card.text(axis.x(0.02), 268, "and the promise is kept", fill=GREY, size=13)
    return card.done()


def luck() -> str:
    """Means of samples of a pool whose true mean is the target exactly."""
    card = Card(
        330,
        "The mean of a validation sample is above the target in half of all samples, though the truth is at the target",
    )
    card.text(
        24, 32, "The machine's labels have a true mean of exactly 0.60. What does a sample of them show?", bold=True
    )
    rng = np.random.default_rng(17)
    _, y = draw(rng, "medium", 20_000)
    y = np.clip(y + TARGET - y.mean(), 0, 1)
    y = np.clip(y + TARGET - y.mean(), 0, 1)
    for top, n in ((70, 40), (190, 200)):
        means = np.array([y[rng.choice(len(y), n, replace=False)].mean() for _ in range(1000)])
        axis = Axis(card, 0.45, 0.75, 200, 720, top + 82)
        counts, edges = np.histogram(means, bins=60, range=(0.45, 0.75))
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
            height = count / counts.max() * 74
            fill = BROKEN if left >= TARGET - 1e-9 else PALE
            card.rect(
                axis.x(left) + 0.5, axis.y - height, axis.x(right) - axis.x(left) - 1, height, fill=fill, opacity=0.8
            )
        axis.draw([0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75], "mean of the sample" if n == 200 else "")
        axis.mark(TARGET, top, "target" if n == 40 else "")
        card.text(24, top + 28, f"{n} images", bold=True)
        card.text(24, top + 48, f"{(means >= TARGET).mean():.0%} of samples", fill=BROKEN, size=13)
        card.text(24, top + 65, "look good enough", fill=BROKEN, size=13)
    return card.done()


def runs() -> str:
    """True means of 100 jobs, by the plain mean and by the test."""
    both = {
        "The validation mean reaches 0.6 (Ground Truth's rule)": jobs("empirical"),
        "The test shows 0.6 (gtloop's rule)": jobs("exact"),
    }
    card = Card(420, "True quality of the machine labels in 100 jobs under two rules")
    return _dots(card, "100 jobs. Each dot: how good the machine's labels of that job really are", both)


def why_blind() -> str:
    """True means of 100 jobs with the strict test, on validation labels that are not blind or not random."""
    three = {
        "Random images, blind people": jobs("exact"),
        "Random images, people saw the model's label": jobs("exact", led),
        "Blind people, clear images picked by hand": jobs("exact", handpicked),
    }
    card = Card(590, "The same strict test, where validation is blind and random, and where it is not")
    return _dots(card, "The same strict test; only where its validation labels come from differs", three)


def three() -> str:
    """Certified, estimated, and measured more and more closely by an audit."""
    job = _typical()
    assert job.bound is not None
    assert job.estimate is not None
    order = np.random.default_rng(17).permutation(len(job.labels))[:150]
    checked = job.labels[order]
    at = list(range(5, 151, 5))
    bounds = running_bounds(checked, checked, len(job.labels), DELTA, at)
    card = Card(380, "Certified, estimated and measured quality of one job, while an audit goes on")
    card.text(24, 32, f"One job, {len(job.labels)} machine labels: three numbers that are never mixed", bold=True)
    axis = Axis(card, 0, 150, 70, 560, 320)
    axis.draw([0, 30, 60, 90, 120, 150], "machine labels checked by people (audit)", "{:.0f}")

    def y(quality: float) -> float:
        return 320 - (quality - 0.3) / 0.7 * 260

    for tick in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        card.text(60, y(tick) + 4, f"{tick:.1f}", fill=GREY, size=12, anchor="end")
        card.line(70, y(tick), 560, y(tick), stroke=PALE, w=0.6)
    pairs = list(zip(at, bounds, strict=True))
    upper = [(axis.x(n), y(min(b.upper, 1))) for n, b in pairs]
    lower = [(axis.x(n), y(max(b.lower, 0.3))) for n, b in pairs]
    card.area(upper + lower[::-1], fill=PEOPLE, opacity=0.15)
    for n in at:
        card.dot(axis.x(n), y(float(checked[:n].mean())), 2.5, fill=PEOPLE)
    rows = sorted(
        [
            (job.estimate, f"estimated {job.estimate:.3f}", "plain mean, no guarantee", MACHINE, "2 4"),
            (job.bound, f"certified {job.bound:.3f}", "at least that, before the audit", BROKEN, ""),
            (
                float(checked.mean()),
                f"measured {checked.mean():.3f}",
                f"{bounds[-1].lower:.2f} to {bounds[-1].upper:.2f} after 150",
                PEOPLE,
                "",
            ),
            (job.true, f"true {job.true:.3f}", "only a simulation knows it", INK, "6 4"),
        ],
        reverse=True,
    )
    for row, (value, name, meaning, colour, dash) in enumerate(rows):
        if not name.startswith("measured"):
            card.line(70, y(value), 560, y(value), stroke=colour, dash=dash)
        place = 100 + row * 50
        card.line(575, place - 5, 600, place - 5, stroke=colour, dash=dash, w=2.5)
        card.text(608, place, name, fill=colour, size=13, bold=True)
        card.text(575, place + 17, meaning, fill=GREY, size=12)
    return card.done()


def _shifted(w: float, h: float, d: float) -> float:
    """IoU of a box and the same box moved by ``d`` along its diagonal."""
    other = np.array([[d, d * h / w, w + d, h + d * h / w]])
    return float(iou_matrix(np.array([[0.0, 0.0, w, h]]), other)[0, 0])


def _typical() -> Job:
    """The first job in which the test labels about as much as it does on average."""
    found = [job for job in jobs("exact") if job is not None]
    middle = float(np.median([len(job.labels) for job in found]))
    return min(found, key=lambda job: abs(len(job.labels) - middle))


def _dots(card: Card, title: str, groups: dict[str, list[Job | None]]) -> str:
    card.text(24, 32, title, bold=True)
    for i, (name, made) in enumerate(groups.items()):
        labelled = [job for job in made if job is not None]
        broken = sum(job.true < TARGET for job in labelled)
        share = sum(len(job.labels) for job in labelled) / (JOBS * POOL)
        top = 64 + i * 178
        axis = Axis(card, 0.45, 0.75, 250, 720, top + 118)
        axis.stack([job.true for job in labelled], 0.005, 3.4, below=TARGET)
        axis.draw([0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75], "true mean quality of the machine labels")
        axis.mark(TARGET, top + 8, "promised")
        words = name.split(" (") if " (" in name else name.split(", ", 1)
        card.text(24, top + 30, words[0] + ("," if ", " in name and " (" not in name else ""), size=13, bold=True)
        card.text(24, top + 48, ("(" if " (" in name else "") + words[1], size=13)
        card.text(24, top + 72, f"{broken} of {JOBS} break the promise", fill=BROKEN, size=13)
        card.text(24, top + 90, f"{share:.0%} of images by machine", fill=GREY, size=13)
        if none := JOBS - len(labelled):
            card.text(24, top + 108, f"{counted(none, 'job')} without machine labels", fill=GREY, size=13)
    return card.done()


PICTURES = {"what": what, "luck": luck, "runs": runs, "blind": why_blind, "three": three}


def main() -> int:
    different = []
    for name, make in PICTURES.items():
        path, drawn = ROOT / "docs" / "img" / f"promise-{name}.svg", make()
        if "--check" not in sys.argv:
            path.write_text(drawn, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != drawn:
            different.append(path.name)
    if different:
        print(f"not what this version draws: {', '.join(different)}; run python docs/.site/pictures.py")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
