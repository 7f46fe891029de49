"""What a task promises: labels, answers and raw predictions that survive every way through it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import numpy as np

from gtloop.errors import BadAnswer
from gtloop.interfaces import Consolidated, Hint, Simulated
from gtloop.records import Answer, Item, Outcome, Payload
from gtloop.testing.case import Case, CheckSkipped, brief, during, require

CUT = 0.5
TINY = 1e-6
NEARER = 0.8
"""Simulated answers are that much nearer to their own truth than to another; crowds are noisy on tiny images."""


def check_form_mentions_every_category(case: Case) -> None:
    """The form lists every category of the run, and names the task."""
    form = case.task.form()
    shown = {category for primitive in form.primitives for category in primitive.categories}
    html = " ".join(primitive.html or "" for primitive in form.primitives)
    lost = [c for c in case.context.categories if c not in shown and c not in html]
    require(not lost, f"the form does not offer: {', '.join(lost)}")
    require(form.task == case.task.name, f"the form says it is of task {form.task!r}")
    require(form.instructions.strip(), "the form has no instructions")


def check_parse_is_stable(case: Case) -> None:
    """Parsing a parsed label changes nothing, nor the argument; labels are JSON."""
    for payload, item in zip(case.truths, case.items, strict=False):
        before = copy.deepcopy(payload)
        again = case.task.parse(payload, item)
        require(payload == before, "parse changes its argument")
        require(again == payload, f"parsing a parsed label again changes it: {brief(payload)} becomes {brief(again)}")
        require(json.loads(json.dumps(payload)) == payload, f"a label is not plain JSON: {payload}")


def check_parse_refuses_nonsense(case: Case) -> None:
    """A payload of another shape raises BadAnswer, nothing else."""
    item = case.items[0]
    for nonsense in ({"no-such-key": [1, {"x": None}]}, {**case.truths[0], "no-such-key": 1}):
        try:
            case.task.parse(nonsense, item)
        except BadAnswer:
            continue
        except Exception as e:
            require(False, f"parse({nonsense}) raised {type(e).__name__}, not BadAnswer: {e}")
        require(False, f"parse accepts {nonsense}")


def check_error_is_a_distance(case: Case) -> None:
    """error(x, x) is 0, it is symmetric, in [0, 1], and tells different labels apart."""
    task, truths = case.task, case.truths
    seen = []
    for a in truths:
        require(abs(task.error(a, a)) < TINY, f"error of a label to itself is {task.error(a, a):g}, not 0: {brief(a)}")
        for b in truths:
            there, back = task.error(a, b), task.error(b, a)
            require(0 <= there <= 1, f"error is {there:g}, outside [0, 1], for {brief(a)} and {brief(b)}")
            require(
                abs(there - back) < TINY,
                f"error is not symmetric: {there:g} for {brief(a)} and {brief(b)}, {back:g} the other way round",
            )
            seen.append(there)
    require(max(seen) > 0, "error is 0 for every pair of the tiny labels")


def check_evaluate_is_perfect_for_equal(case: Case) -> None:
    """Evaluating labels against themselves gives a mean of 1."""
    figures = case.task.evaluate([(t, t) for t in case.truths])
    require(
        abs(figures.get("mean", float("nan")) - 1) < TINY,
        f"evaluating labels against themselves gives mean {figures.get('mean')}, not 1",
    )


def check_unanimous_answers_consolidate(case: Case) -> None:
    """Three equal answers give that label, with full agreement and a confidence in [0, 1]."""
    for row, payload in enumerate(case.truths):
        answers = [_answer(f"w{k}", row, Simulated(_outcome(case, payload), payload, 1.0)) for k in range(3)]
        made = case.task.consolidate(answers, case.task.skills([answers], {}))
        require(made.payload is not None, "three equal answers give no label")
        assert made.payload is not None
        error = case.task.error(made.payload, payload)
        require(error < TINY, f"three equal answers {brief(payload)} give {brief(made.payload)} (error {error:.3g})")
        require(0 <= made.confidence <= 1, f"confidence is {made.confidence}")
        require(made.agreement > 0.99, f"agreement of equal answers is {made.agreement}")
        case.task.parse(made.payload, case.items[row])


def check_order_of_answers_is_irrelevant(case: Case) -> None:
    """Consolidation gives the same whatever the order of the answers."""
    for row in range(len(case.truths)):
        answers = _simulated(case, row, 4)
        if not answers:
            continue
        first, back = (case.task.consolidate(a, {}) for a in (answers, answers[::-1]))
        require(first == back, f"the order of {len(answers)} answers matters: {_made(first)}, in reverse {_made(back)}")


def check_no_support_gives_no_label(case: Case) -> None:
    """Answers that all say ``cannot_tell`` give no label."""
    answers = [_answer(f"w{k}", 0, Simulated("cannot_tell", None, 1.0)) for k in range(3)]
    made = case.task.consolidate(answers, {})
    require(made.payload is None, f"three people who cannot tell give the label {made.payload}")


def check_sure_is_a_share(case: Case) -> None:
    """How sure answers are lies in [0, 1], whatever their order and number, and is 0 where nobody could tell."""
    for row in range(len(case.truths)):
        for n in (1, 2, 4):
            if not (answers := _simulated(case, row, n)):
                continue
            first, back = (case.task.sure(a, {}, Hint(), 3) for a in (answers, answers[::-1]))
            require(0 <= first <= 1, f"sure is {first} of {len(answers)} answers, outside [0, 1]")
            require(first == back, f"sure is {first} of {len(answers)} answers, and {back} in reverse")
    nobody = case.task.sure([_answer("w0", 0, Simulated("cannot_tell", None, 1.0))], {}, Hint(), 1)
    require(nobody == 0, f"sure is {nobody} where nobody can tell")


def check_simulated_answers_parse(case: Case) -> None:
    """What synthetic workers answer fits the form, and personas are plain JSON."""
    persona = case.task.worker(case.rng())
    require(json.loads(json.dumps(persona)) == persona, f"a persona is not plain JSON: {persona}")
    for row, item in enumerate(case.items[: len(case.truths)]):
        for k in range(6):
            said = _simulate(case, row, k)
            require(said.seconds >= 0, f"an answer took {said.seconds} s")
            if said.outcome == "label":
                require(said.payload is not None, "outcome 'label' without a payload")
                with during("parsing what a synthetic worker answers"):
                    case.task.parse(said.payload or {}, item)


def check_simulation_is_keyed(case: Case) -> None:
    """The same persona and generator give the same answer; truth is left unchanged."""
    before = copy.deepcopy(case.truths)
    for row in range(len(case.truths)):
        require(
            _simulate(case, row, 1) == _simulate(case, row, 1),
            "the same persona, truth and generator give two different answers",
        )
    require(case.truths == before, "simulate changes the truth")


def check_simulated_answers_resemble_truth(case: Case) -> None:
    """Synthetic workers are nearer to their image's truth than to another's."""
    own, other = [], []
    for row, payload in enumerate(case.truths):
        far = max(case.truths, key=lambda t: case.task.error(t, payload))
        for answer in _simulated(case, row, 8):
            said = answer.payload if answer.payload is not None else case.task.empty()
            if said is not None:
                own.append(case.task.error(said, payload))
                other.append(case.task.error(said, far))
    require(own, "no synthetic worker ever answers")
    require(
        np.mean(own) < NEARER * np.mean(other),
        f"simulated answers have mean error {np.mean(own):.2f} to their own truth, {np.mean(other):.2f} to another",
    )


def check_noise_free_workers_copy_the_truth(case: Case) -> None:
    """A persona with ``noise`` 0 answers the truth itself."""
    for row, payload in enumerate(case.truths):
        persona = case.task.worker(case.rng(1, row))
        if "noise" not in persona:
            raise CheckSkipped("personas of this task have no key 'noise'")
        said = case.task.simulate(payload, {**persona, "noise": 0.0}, case.items[row], case.rng(2, row))
        answer = case.task.parse(said.payload, case.items[row]) if said.payload is not None else case.task.empty()
        require(answer is not None, f"a worker without noise says {said.outcome}")
        error = case.task.error(answer or {}, payload)
        require(error < TINY, f"a worker with noise 0 answers {brief(answer)} where the truth is {brief(payload)}")


def check_features_match_their_names(case: Case) -> None:
    """``features`` gives one finite number for each name; ``n_objects`` is among them."""
    names = case.task.feature_names
    require("n_objects" in names, f"feature_names lacks n_objects: {names}")
    require(len(set(names)) == len(names), f"feature_names repeats a name: {names}")
    for payload in case.truths:
        values = case.task.features(case.task.raw(payload), CUT)
        require(values.shape == (len(names),), f"features has shape {values.shape}, there are {len(names)} names")
        require(np.isfinite(values).all(), f"features holds {values} for {payload}")
        objects = values[names.index("n_objects")]
        require(objects == case.task.count(payload), f"n_objects is {objects}, count says {case.task.count(payload)}")


def check_raw_and_label_agree(case: Case) -> None:
    """A label made a raw prediction and back is the same label; raw predictions are plain JSON."""
    for payload, item in zip(case.truths, case.items, strict=False):
        raw = case.task.raw(payload)
        require(json.loads(json.dumps(raw)) == raw, f"a raw prediction is not plain JSON: {raw}")
        back = case.task.label(raw, CUT)
        error = case.task.error(back, payload)
        require(
            error < TINY, f"a label made a raw prediction and back is another: {brief(payload)} becomes {brief(back)}"
        )
        case.task.parse(back, item)
        require(isinstance(case.task.slice(raw, CUT), str), "slice is not a string")


def check_reframe_there_and_back(case: Case) -> None:
    """For every EXIF orientation, moving to the stored frame and back changes nothing."""
    for orientation in range(1, 9):
        for payload, item in zip(case.truths, case.items, strict=False):
            turned = _turned(item, orientation)
            stored = case.task.reframe(payload, turned, "stored")
            back = case.task.reframe(stored, turned, "display")
            error = case.task.error(back, payload)
            require(
                error < TINY,
                f"EXIF orientation {orientation}: to the stored frame and back, {brief(payload)} is {brief(back)}",
            )
            if orientation == 1:
                require(case.task.error(stored, payload) < TINY, "orientation 1 moves a label")


def check_empty_is_empty(case: Case) -> None:
    """The label of an empty image holds no object, and survives as any other."""
    empty = case.task.empty()
    if empty is None:
        raise CheckSkipped("this task has no empty label")
    require(case.task.count(empty) == 0, f"count(empty()) is {case.task.count(empty)}")
    require(case.task.parse(empty, case.items[0]) == empty, "parse changes the empty label")
    require(case.task.label(case.task.raw(empty), CUT) == empty, "raw and label change the empty label")


def _made(c: Consolidated) -> str:
    return f"{brief(c.payload)} (confidence {c.confidence:.2f}, agreement {c.agreement:.2f})"


def _turned(item: Item, orientation: int) -> Item:
    width, height = item.display_size or (1, 1)
    stored = (height, width) if orientation >= 5 else (width, height)
    return item.model_copy(update={"width": stored[0], "height": stored[1], "orientation": orientation})


def _outcome(case: Case, payload: Payload) -> Outcome:
    return "empty" if payload == case.task.empty() else "label"


def _simulate(case: Case, row: int, k: int) -> Simulated:
    persona = case.task.worker(case.rng(1, k))
    return case.task.simulate(case.truths[row], persona, case.items[row], case.rng(2, row, k))


def _simulated(case: Case, row: int, n: int) -> Sequence[Answer]:
    answers = [_answer(f"w{k}", row, _simulate(case, row, k)) for k in range(n)]
    return [a for a in answers if a.outcome in ("label", "empty")]


def _answer(worker: str, row: int, said: Simulated) -> Answer:
    return Answer(
        id=f"{worker}-{row}",
        request=f"r{row}",
        worker=worker,
        outcome=said.outcome,
        payload=said.payload,
        active_seconds=said.seconds,
        at=f"2026-01-01T00:00:{int(worker[1:]):02d}Z",
    )


TASK_CHECKS = (
    check_form_mentions_every_category,
    check_parse_is_stable,
    check_parse_refuses_nonsense,
    check_error_is_a_distance,
    check_evaluate_is_perfect_for_equal,
    check_unanimous_answers_consolidate,
    check_order_of_answers_is_irrelevant,
    check_no_support_gives_no_label,
    check_sure_is_a_share,
    check_simulated_answers_parse,
    check_simulation_is_keyed,
    check_simulated_answers_resemble_truth,
    check_noise_free_workers_copy_the_truth,
    check_features_match_their_names,
    check_raw_and_label_agree,
    check_reframe_there_and_back,
    check_empty_is_empty,
)
