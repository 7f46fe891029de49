from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtloop.interfaces import Context, Hint
from gtloop.records import Answer
from gtloop_plugins.tasks.classification import Classification, consolidation, people

CATEGORIES = ("bird", "cat", "dog")
TASK = Classification(Classification.Options(), Context(categories=CATEGORIES))
names = st.sampled_from(CATEGORIES)
votes = st.lists(names, min_size=1, max_size=6)
batch = st.lists(st.dictionaries(st.sampled_from("abcdef"), names, min_size=1, max_size=5), min_size=1, max_size=12)


def answer(worker: str, category: str | None, outcome: str = "label", item: int = 0) -> Answer:
    payload = {"category": category} if category else None
    fields = {"id": f"{item}-{worker}", "request": str(item), "worker": worker, "outcome": outcome, "at": "t"}
    return Answer.model_validate({**fields, "payload": payload})


def answers(*categories: str) -> list[Answer]:
    return [answer(f"w{n}", c) for n, c in enumerate(categories)]


def asked(said: Sequence[dict[str, str]]) -> list[list[Answer]]:
    return [[answer(w, c, item=n) for w, c in one.items()] for n, one in enumerate(said)]


def crowd(seed: int, items: int, spammers: int = 0, workers: int = 12) -> tuple[list[list[Answer]], list[str]]:
    """Three answers an item of simulated people; the truth."""
    rng = np.random.default_rng(seed)
    personas = [{**TASK.worker(rng), "spammer": n < spammers} for n in range(workers)]
    truth = [str(c) for c in rng.choice(CATEGORIES, items)]
    said: list[dict[str, str]] = []
    for true in truth:
        chosen = rng.choice(workers, 3, replace=False).tolist()
        made = [people.simulate({"category": true}, personas[w], CATEGORIES, rng).payload for w in chosen]
        said.append({f"w{w}": p["category"] for w, p in zip(chosen, made, strict=True) if p is not None})
    return asked(said), truth


def right(labels: Sequence[Any], truth: Sequence[str]) -> float:
    return float(
        np.mean([m.payload is not None and m.payload["category"] == t for m, t in zip(labels, truth, strict=True)])
    )


# --------------------------------------------------------------------------------------------- one item


@settings(deadline=None, max_examples=50)
@given(batch, st.randoms(use_true_random=False))
def test_order_is_irrelevant(said: list[dict[str, str]], random: Any) -> None:
    items = asked(said)
    mixed = [random.sample(one, len(one)) for one in items]
    skills = TASK.skills(items, {})
    assert skills == TASK.skills(mixed, {})
    for one, other in zip(items, mixed, strict=True):
        assert TASK.consolidate(one, skills) == TASK.consolidate(other, skills)
        raw = {"probabilities": [0.2, 0.5, 0.3]}
        assert TASK.assist(one, skills, raw) == TASK.assist(other, skills, raw)


@settings(deadline=None, max_examples=50)
@given(batch)
def test_order_of_items_hardly_matters(said: list[dict[str, str]]) -> None:
    items = asked(said)
    there, back = (TASK.skill(TASK.skills(given_items, {})) for given_items in (items, items[::-1]))
    assert there == pytest.approx(back, abs=1e-9)


@given(votes)
def test_without_history_it_is_the_majority(said: list[str]) -> None:
    made = TASK.consolidate(answers(*said), {})
    count = Counter(said)
    assert made.payload is not None
    assert made.payload["category"] == min(count, key=lambda c: (-count[c], CATEGORIES.index(c)))
    assert made.payload["confidence"] == made.confidence


@settings(deadline=None, max_examples=50)
@given(batch, names, st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True))
def test_what_all_say_is_the_label(said: list[dict[str, str]], category: str, workers: list[str]) -> None:
    skills = TASK.skills(asked(said), {})
    made = TASK.consolidate([answer(w, category) for w in workers], skills)
    assert made.payload is not None
    assert (made.payload["category"], made.agreement) == (category, 1)
    assert 0 <= made.confidence <= 1


def test_posterior_by_hand() -> None:
    made = TASK.consolidate(answers("cat", "dog", "cat"), {})
    # Everybody is right on .8 and errs evenly: cat .8 .8 .1, dog .1 .1 .8, bird .1 .1 .1.
    assert made.confidence == pytest.approx(0.064 / (0.064 + 0.008 + 0.001))
    assert made.agreement == pytest.approx(1 / 3)
    tie = TASK.consolidate(answers("dog", "cat"), {})
    assert tie.payload == {"category": "cat", "confidence": pytest.approx(0.08 / 0.17)}
    assert TASK.consolidate(answers("dog"), {}).confidence == pytest.approx(0.8)


def test_who_cannot_tell_does_not_count() -> None:
    unsure = [answer(w, None, "cannot_tell") for w in ("x", "y")]
    assert TASK.consolidate([*unsure, *answers("dog")], {}) == TASK.consolidate(answers("dog"), {})
    assert TASK.consolidate(unsure, {}) == (None, 0.0, 0.0)
    assert TASK.skills([unsure], {}) == {}


def test_one_worker_has_one_vote() -> None:
    again = answer("w", "cat").model_copy(update={"id": "b"})
    once = [again, *answers("dog", "dog")]
    assert TASK.consolidate([answer("w", "dog"), *once], {}) == TASK.consolidate(once, {})


def test_one_category() -> None:
    task = Classification(Classification.Options(), Context(categories=("cat",)))
    skills = task.skills([answers("cat", "cat")], {}, [Hint(raw={"probabilities": [1.0]})])
    assert task.consolidate(answers("cat"), skills).confidence == 1
    assert task.assist(answers("cat"), skills, {"probabilities": [1.0]}).confidence == 1


def test_many_answers_do_not_underflow() -> None:
    skills = TASK.skills(asked([{f"w{n}": "cat" for n in range(600)}] * 5), {})
    made = TASK.consolidate(answers(*["cat"] * 300, *["dog"] * 299), skills)
    assert made.payload is not None
    assert made.payload["category"] == "cat"


# -------------------------------------------------------------------------------------------- learning


@settings(deadline=None, max_examples=50)
@given(batch, batch)
def test_skills_are_json_and_add_up(first: list[dict[str, str]], second: list[dict[str, str]]) -> None:
    skills = TASK.skills(asked(first), {})
    assert json.loads(json.dumps(skills)) == skills
    after = TASK.skills(asked(second), json.loads(json.dumps(skills)))
    given_by = Counter(w for one in [*first, *second] if len(one) > 1 for w in one)
    workers = after[consolidation.VERSION]["workers"]
    assert {w: total for w, (_, total) in workers.items() if total} == given_by, "who is alone is judged by nobody"
    assert all(0 <= hits <= total for hits, total in workers.values())
    for worker, (hits, _) in skills[consolidation.VERSION]["workers"].items():
        assert workers[worker][0] >= hits
    assert all(0 < s < 1 for s in TASK.skill(after).values())


def test_batches_come_near_to_all_at_once() -> None:
    items, truth = crowd(1, 600, spammers=2)
    once, parts = TASK.skills(items, {}), TASK.skills(items[300:], TASK.skills(items[:300], {}))
    assert TASK.skill(parts) == pytest.approx(TASK.skill(once), abs=0.03)
    labels = [[TASK.consolidate(one, skills) for one in items] for skills in (once, parts)]
    assert right(labels[1], truth) == pytest.approx(right(labels[0], truth), abs=0.01)


def test_skills_find_spammers_and_beat_the_majority() -> None:
    items, truth = crowd(2, 600, spammers=4)
    skills = TASK.skills(items, {})
    skill = TASK.skill(skills)
    assert max(skill[f"w{n}"] for n in range(4)) < 0.5 < min(skill[f"w{n}"] for n in range(4, 12))
    weighed, majority = ([TASK.consolidate(one, s) for one in items] for s in (skills, {}))
    assert right(weighed, truth) > right(majority, truth) + 0.05


def test_who_is_at_chance_or_below_says_nothing() -> None:
    known = {"workers": {"bad": [0.0, 200.0], "spam": [200 / 3, 200.0]}}
    skills = {consolidation.VERSION: known}
    alone = TASK.consolidate([answer("w", "cat")], skills).confidence
    for worker, tolerance in (("bad", 1e-9), ("spam", 0.02)):
        made = TASK.consolidate([answer("w", "cat"), answer(worker, "dog")], skills)
        assert made.payload is not None
        assert made.payload["category"] == "cat"
        assert made.confidence == pytest.approx(alone, abs=tolerance)


def test_confidence_is_how_often_labels_are_right() -> None:
    items, truth = crowd(3, 3000, spammers=2)
    skills = TASK.skills(items, {})
    made = [TASK.consolidate(one, skills) for one in items]
    unsure = [n for n, m in enumerate(made) if m.confidence < 0.9]
    assert len(unsure) > 150
    said = float(np.mean([made[n].confidence for n in unsure]))
    assert right([made[n] for n in unsure], [truth[n] for n in unsure]) == pytest.approx(said, abs=0.06)
    assert right(made, truth) == pytest.approx(float(np.mean([m.confidence for m in made])), abs=0.02)


def test_gold_beats_a_majority_that_lies() -> None:
    rng = np.random.default_rng(4)
    truth = [str(c) for c in rng.choice(CATEGORIES, 120)]
    lie = dict(zip(CATEGORIES, ("cat", "dog", "bird"), strict=True))
    items = asked([{"x": t, "y": t, **{f"liar{n}": lie[t] for n in range(3)}} for t in truth])
    hints = [Hint(gold={"category": t}) if n < 12 else Hint() for n, t in enumerate(truth)]
    fooled, anchored = TASK.skills(items, {}), TASK.skills(items, {}, hints)
    assert right([TASK.consolidate(one, fooled) for one in items[12:]], truth[12:]) == 0
    assert right([TASK.consolidate(one, anchored) for one in items[12:]], truth[12:]) == 1
    assert TASK.skill(anchored)["x"] > 0.9 > 0.2 > TASK.skill(anchored)["liar0"]


def test_gold_does_not_count_as_frequent() -> None:
    items = asked([{"x": "dog", "y": "dog"}] * 40)
    skills = TASK.skills(items, {}, [Hint(gold={"category": "dog"})] * 40)
    assert skills[consolidation.VERSION]["classes"] == dict.fromkeys(CATEGORIES, 0.0)


def test_common_errors_decide_ties() -> None:
    """Dogs are often taken for cats and never the other way round: who disagree on such an image saw a dog."""
    said = [
        {"a": "dog", "b": "dog", "c": "cat"},
        {"a": "cat", "b": "dog", "c": "dog"},
        {"a": "dog", "b": "cat", "c": "dog"},
    ]
    skills = TASK.skills(asked([*said * 15, *[{"a": c, "b": c, "c": c} for c in ("bird", "cat")] * 30]), {})
    made = TASK.consolidate(answers("cat", "dog"), skills)
    assert made.payload is not None
    assert made.payload["category"] == "dog"


def test_skills_of_other_versions_stay() -> None:
    assert TASK.skills([answers("cat")], {"other": 1})["other"] == 1


# ------------------------------------------------------------------------------------------- the model


def stated(truth: Sequence[str], seed: int, accuracy: float, sure: float = 0.98) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for true in truth:
        named = CATEGORIES.index(true) if rng.random() < accuracy else int(rng.integers(3))
        made.append({"probabilities": [sure if n == named else (1 - sure) / 2 for n in range(3)]})
    return made


def in_batches(items: Sequence[list[Answer]], raws: Sequence[dict[str, Any] | None]) -> list[Any]:
    skills: dict[str, Any] = {}
    made: list[Any] = []
    for n in range(0, len(items), 150):
        part = slice(n, n + 150)
        skills = TASK.skills(items[part], skills, [Hint(raw=r) for r in raws[part]])
        assert json.loads(json.dumps(skills)) == skills
        for one, raw in zip(items[part], raws[part], strict=True):
            made.append(TASK.consolidate(one, skills) if raw is None else TASK.assist(one, skills, raw))
    return made


def test_a_decent_model_helps() -> None:
    items, truth = crowd(5, 900, spammers=1)
    alone = in_batches(items, [None] * len(items))
    assert right(in_batches(items, stated(truth, 5, 0.8)), truth) > right(alone, truth) + 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_model_at_chance_does_no_harm(seed: int) -> None:
    items, truth = crowd(seed, 900, spammers=1)
    alone = in_batches(items, [None] * len(items))
    bad = in_batches(items, stated(truth, seed, 0.0, sure=0.999))
    assert right(bad, truth) > right(alone, truth) - 0.006


def test_a_model_that_is_sure_and_wrong_on_one_category_does_no_harm() -> None:
    items, truth = crowd(6, 900, spammers=1)
    alone = in_batches(items, [None] * len(items))
    raws = [
        {"probabilities": [0.0, 0.999, 0.001]} if t == "bird" else r
        for t, r in zip(truth, stated(truth, 6, 0.8), strict=True)
    ]
    birds = [n for n, t in enumerate(truth) if t == "bird"]
    made = in_batches(items, raws)
    assert right(made, truth) > right(alone, truth)
    assert (
        right([made[n] for n in birds], ["bird"] * len(birds))
        > right([alone[n] for n in birds], ["bird"] * len(birds)) - 0.03
    )


@settings(deadline=None, max_examples=30)
@given(batch, st.integers(0, 100))
def test_a_model_never_changes_what_is_known_of_people(said: list[dict[str, str]], seed: int) -> None:
    items = asked(said)
    raws = stated(["cat"] * len(items), seed, 0.5)
    with_model = TASK.skills(items, {}, [Hint(raw=r) for r in raws])
    assert with_model[consolidation.VERSION] == TASK.skills(items, {})[consolidation.VERSION]
    for one, raw in zip(items, raws, strict=True):
        unheard = TASK.assist(one, TASK.skills(items, {}), raw)
        assert unheard == TASK.consolidate(one, TASK.skills(items, {}))


def test_an_old_model_is_forgotten() -> None:
    items, truth = crowd(7, 150)
    skills: dict[str, Any] = {}
    for _ in range(20):
        skills = TASK.skills(items, skills, [Hint(raw=r) for r in stated(truth, 7, 0.8)])
    kept = sum(n for _, n in skills[consolidation.MODEL]["degrees"])
    assert kept < 1300


def test_who_is_alone_with_an_item_teaches_nothing() -> None:
    """Else whoever always says the same confirms themselves, and outvotes two who disagree."""
    skills = TASK.skills(asked([{"s": "cat"}] * 300), {})
    assert TASK.skill(skills) == {}
    made = TASK.consolidate([*answers("dog", "dog"), answer("s", "cat")], skills)
    assert made.payload is not None
    assert made.payload["category"] == "dog"
