"""The narrator's sentences: numbers of one, and what is said of images that can't be read."""

from __future__ import annotations

from gtloop import events as ev
from gtloop.events import FileRef
from gtloop.narration import sentence
from gtloop.state import State
from gtloop.wording import counted, some


def ref(rows: int) -> FileRef:
    return FileRef(path="x.parquet", rows=rows, sha256="0" * 64)


def test_unreadable_images_are_named_with_their_reason() -> None:
    one = ev.ItemsQuarantined(iteration=1, file=ref(1), example="a.jpg (the file is empty)")
    assert sentence(one, State()) == "1 unreadable image put aside: a.jpg (the file is empty)"
    three = one.model_copy(update={"file": ref(3)})
    text = sentence(three, State())
    assert text.startswith("3 unreadable images put aside, first a.jpg (the file is empty); ")
    assert "gtloop export" in text
    trained = three.model_copy(update={"training": True})
    assert sentence(trained, State()) == "3 unreadable images left out of training, first a.jpg (the file is empty)"
    old = ev.ItemsQuarantined.model_validate({"iteration": 1, "file": ref(2).model_dump()})
    assert sentence(old, State()) == "2 unreadable images put aside"


def test_one_is_no_plural() -> None:
    def text(n: int, moved: int) -> str:
        committed = ev.BatchCommitted(
            batch=1, phase="train", requests=ref(n), reserved=0, moved=ref(moved), reason="why"
        )
        return sentence(committed, State())

    assert text(1, 1) == "1 image goes to people (train): why; 1 validation image reached too, now training"
    assert text(2, 2) == "2 images go to people (train): why; 2 validation images reached too, now training"
    assert [counted(n, "alias") for n in (0, 1, 2)] == ["0 aliases", "1 alias", "2 aliases"]
    assert [counted(2, noun) for noun in ("entry", "day")] == ["2 entries", "2 days"]
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c"], 2) == "a, b, ..."


def test_without_a_state_totals_are_left_out() -> None:
    assert sentence(ev.RunFinished()) == "finished"
    assert sentence(ev.LabelsConsolidated(number=1, labels=ref(3))) == "3 images answered"
    assert sentence(ev.ReviewConcluded(number=1, labels=ref(1))) == "1 label looked at"


def test_what_an_answer_costs_is_said_to_the_fraction_of_a_cent() -> None:
    quoted = ev.PricesQuoted(annotator="mturk", answers=3, answer=40_000, fee=10_500)
    assert sentence(quoted) == "mturk takes $0.04 for an answer and a fee of $0.0105"


def test_a_detector_that_fits_nothing_is_not_said_to_have_fitted() -> None:
    fitted = ev.ModelFitted(model="m1", batch=1, examples=1, seconds=2.0)
    assert sentence(fitted, State()) == ""
    assert sentence(fitted.model_copy(update={"path": "models/m1"}), State()) == "model m1 fitted on 1 image in 2 s"
    assert sentence(fitted.model_copy(update={"fault": "too few"}), State()) == "too few"
