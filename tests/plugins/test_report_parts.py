"""The parts of ``gtloop report``: measured numbers, pictures and plots."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gtloop import masks, plots
from gtloop.interfaces import Context
from gtloop.records import Item, Label
from gtloop.registry import Registry
from gtloop.testing.fakes import CATEGORIES
from gtloop_plugins.commands.reporting import (
    categories,
    crowd,
    figures,
    galleries,
    groups,
    marks,
    measure,
    overlays,
    page,
    panels,
    picks,
    pictures,
    promising,
)

PROMISE = {"kind": "selective", "target": 0.6, "max_loss": None, "certified": 0.61, "certified_rest": None}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def box(x: float, category: str = "crate") -> dict[str, Any]:
    return {"category": category, "xyxy": [x, 0, x + 10, 10]}


WIDE = {"category": "crate", "xyxy": [200, 300, 1500, 1200]}


def mask(index: Any, names: tuple[str, ...] = ("sky", "road", "car")) -> dict[str, Any]:
    """The payload of an (H, W) index map: -1 background, -2 void."""
    return masks.from_map(np.asarray(index, np.int16), names).model_dump(mode="json")


def label(row: int, payload: dict[str, Any], source: Any = "machine", confidence: float = 0.5) -> Label:
    return Label(row=row, payload=payload, source=source, confidence=confidence, iteration=1)


def measured(
    row: int, quality: float | None, confidence: float = 0.5, objects: int = 1, source: str = "machine"
) -> measure.Measured:
    return measure.Measured(label(row, {"boxes": []}, source, confidence), None, quality, objects, None)


class TestMeasure:
    def test_quality_is_one_minus_the_error_of_the_task(self, registry: Registry) -> None:
        task = registry.build("task", "bbox", {}, Context(categories=CATEGORIES))
        labels = [label(0, {"boxes": [box(0)]}), label(1, {"boxes": [box(5)]}), label(2, {"boxes": []})]
        found = measure.measure(labels, {0: {"boxes": [box(0)]}, 1: {"boxes": [box(0)]}}, task)
        assert [m.quality for m in found] == [1.0, pytest.approx(1 / 3), None]
        assert [m.true_objects for m in found] == [1, 1, None]

    def test_figures_of_known_values_only(self) -> None:
        found = measure.quality_figures([0.0, None, 1.0, 0.5])
        assert (found["count"], found["mean"]) == (3, 0.5)
        assert list(found["quantiles"]) == ["0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"]
        assert (found["quantiles"]["0"], found["quantiles"]["0.25"], found["quantiles"]["1"]) == (0.0, 0.25, 1.0)

    def test_nothing_known_gives_nulls(self) -> None:
        found = measure.quality_figures([None])
        assert (found["count"], found["mean"]) == (0, None)
        assert set(found["quantiles"].values()) == {None}

    @pytest.mark.parametrize(
        ("quality", "true", "kept"),
        [
            ([0.7, 0.5], 0.6, True),
            ([0.7, 0.4], 0.55, False),
            ([0.9, None], 0.9, None),  # the truth does not cover every machine label
            ([None], None, None),
            ([], None, None),
        ],
    )
    def test_promise_of_a_mean(self, quality: list[float | None], true: float | None, kept: bool | None) -> None:
        items = {"total": 10, "aliases": 0, "quarantined": 0}
        found = measure.outcome(PROMISE, [measured(i, q) for i, q in enumerate(quality)], items)
        assert found["kept"] is kept
        assert found["true"] == (None if true is None else pytest.approx(true))
        assert found["true_n"] == sum(q is not None for q in quality)

    def test_promise_of_a_loss_counts_all_items_and_human_labels_as_right(self) -> None:
        machine = [measured(0, 0.5), measured(1, 0.7), measured(2, 0.1, source="human")]
        items = {"total": 10, "aliases": 1, "quarantined": 1}
        promise = PROMISE | {"kind": "dataset", "max_loss": 0.1}
        found = measure.outcome(promise, machine, items)
        assert found["true"] == pytest.approx(1 - 0.8 / 8)
        assert found["kept"]
        assert measure.outcome(promise | {"max_loss": 0.09}, machine, items)["kept"] is False

    def test_what_is_not_certified_can_be_neither_kept_nor_broken(self) -> None:
        items = {"total": 10, "aliases": 0, "quarantined": 0}
        found = measure.outcome(PROMISE | {"certified": None}, [measured(0, 0.7)], items)
        assert found == {"true": pytest.approx(0.7), "true_n": 1, "kept": None}

    def test_labels_that_another_service_made_are_not_promised(self) -> None:
        items = {"total": 10, "aliases": 0, "quarantined": 0}
        labels = [measured(0, 1.0), measured(1, 0.5)]
        labels[1] = replace(labels[1], label=labels[1].label.model_copy(update={"iteration": 2}))
        part = PROMISE | {"certified": None, "certified_rest": 0.61}
        assert measure.outcome(part, labels, items, unproven=1) == {"true": 0.5, "true_n": 1, "kept": False}
        assert measure.outcome(part | {"certified_rest": None}, labels, items, unproven=2)["true"] is None
        of_all = part | {"kind": "dataset", "max_loss": 0.1}
        found = measure.outcome(of_all, labels, items, unproven=1)
        assert (found["true"], found["kept"]) == (pytest.approx(0.95), None)

    def test_groups_by_confidence(self) -> None:
        confidence = np.array([0.1, 0.9, 0.5, 0.7])
        found = groups.by_confidence(confidence, np.array([0.0, 1.0, 0.4, 0.8]), groups=2)
        assert [(g.count, g.first, g.last) for g in found] == [(2, 0, 50), (2, 50, 100)]
        assert [g.quality for g in found] == pytest.approx([0.9, 0.2])
        assert [g.top for g in found] == pytest.approx([0.9, 0.55])
        assert groups.by_confidence(np.zeros(0), np.zeros(0)) == []
        assert len(groups.by_confidence(np.ones(3), np.ones(3))) == 3

    def test_equal_confidence_is_not_sorted_by_row(self) -> None:
        quality = np.repeat([1.0, 0.0], 500)
        found = groups.by_confidence(np.full(1000, 0.5), quality)
        assert all(0.3 < g.quality < 0.7 for g in found)

    def test_best_and_worst_share_no_image_and_show_something(self) -> None:
        labels = [
            measured(0, 1.0, objects=0),
            measured(1, 1.0, 0.4),
            measured(2, 1.0, 0.8),
            measured(3, 0.2, 0.3),
            measured(4, 0.2, 0.9),
            measured(5, None),
        ]
        best, worst = picks.best_and_worst(labels, 2)
        assert [m.label.row for m in worst] == [4, 3]
        assert [m.label.row for m in best] == [2, 1]
        best, worst = picks.best_and_worst(labels[:1], 8)
        assert len(best) + len(worst) == 1

    def test_the_surest_have_a_truth_where_there_is_one_and_objects_first(self) -> None:
        known = [measured(i, 0.5, c, objects=n) for i, (c, n) in enumerate([(0.3, 1), (0.9, 0), (0.9, 2), (0.5, 1)])]
        known = [replace(m, truth={"boxes": []}) for m in known] + [measured(4, None, 1.0)]
        assert [m.label.row for m in picks.surest(known, 4, True)] == [2, 3, 0, 1]
        assert [m.label.row for m in picks.surest(known, 2, False)] == [4, 2]

    def test_sample_draws_without_replacement(self) -> None:
        labels = [measured(i, None) for i in range(50)]
        rows = [m.label.row for m in picks.sample(labels, 20, seed=3)]
        assert len(set(rows)) == 20
        assert rows == sorted(rows)
        assert rows == [m.label.row for m in picks.sample(labels, 20, seed=3)]
        assert len(picks.sample(labels, 80, seed=3)) == 50

    def test_confusion_has_truth_in_rows(self, registry: Registry) -> None:
        task = registry.build("task", "classification", {}, Context(categories=CATEGORIES))
        labels = [label(i, {"category": c}) for i, c in enumerate(["crate", "drum", "drum"])]
        found = measure.measure(labels, {0: {"category": "drum"}, 1: {"category": "drum"}}, task)
        table = groups.confusion(found, CATEGORIES)
        assert table is not None
        assert table[0] == ["crate", "drum"]
        assert table[1].tolist() == [[0, 0], [1, 1]]
        assert groups.confusion([measured(0, 1.0)], CATEGORIES) is None

    def test_counts_of_categories(self) -> None:
        boxes = measure.Measured(
            label(0, {"boxes": [box(0), box(20), box(40, "drum")]}), {"boxes": [box(0, "drum")]}, 0.5, 3, 1
        )
        found = groups.category_counts([boxes], ["drum", "crate"])
        assert list(found) == ["drum", "crate"]
        assert found["crate"] == {"human": 0, "machine": 2, "truth": 0}
        assert found["drum"] == {"human": 0, "machine": 1, "truth": 1}

    def test_how_sure_each_category_is_of_its_boxes_or_of_its_labels(self) -> None:
        sure = {"boxes": [box(0) | {"confidence": 0.9}, box(20) | {"confidence": 0.5}, box(40, "drum")]}
        labels = [measure.Measured(label(0, sure, confidence=0.2), None, None, 3, None)]
        labels.append(measure.Measured(label(1, {"boxes": [box(0)]}, "human", 0.6), None, None, 1, None))
        assert groups.category_confidence(labels) == {
            "crate": {"machine": pytest.approx(0.7), "human": 0.6},
            "drum": {"machine": 0.2},
        }

    def test_names_are_found_in_every_known_shape_and_in_no_other(self) -> None:
        assert groups.names_in({"boxes": [box(0), box(9, "drum")]}) == ["crate", "drum"]
        assert groups.names_in(mask([[0, 2], [2, -1]])) == ["sky", "car"]
        assert groups.names_in({"category": "drum"}) == ["drum"]
        for other in ({"points": [[1, 2]]}, {"regions": 3}, {"boxes": [[1, 2, 3, 4]]}, {}, None):
            assert groups.names_in(other) == []

    def test_figures_of_categories(self) -> None:
        found = groups.by_figure({"mean": 0.5, "iou.a.b": 0.25, "iou.c": None, "count.c": 3.0})
        assert found == {"iou": {"a.b": 0.25, "c": None}}


class TestPanels:
    def facts(self, evaluation: dict[str, Any] | None) -> measure.Facts:
        labels = [
            measure.Measured(label(0, mask([[0, 1]]), "human"), mask([[0, 1]]), 1.0, 2, 2),
            measure.Measured(label(1, mask([[0, 0]])), mask([[0, 1]]), 0.5, 1, 2),
        ]
        promise = {"kind": "selective", "target": 0.5, "metric": "mean IoU"}
        cost = {"if_all_human": 0.0, "machine": 0.0}
        status = {"iterations": [], "cost_usd": cost, "promise": promise, "evaluation": evaluation}
        status |= {"hours": {"human": 0.0}, "risk": [], **groups.grouped(labels, ("sky", "road", "car"), True)}
        return measure.Facts(status, labels, [], {}, "truth")

    def test_masks_have_their_categories_and_their_figures_by_source(self) -> None:
        evaluation = {
            "human": {"mean": 1.0, "iou.sky": 1.0, "iou.road": 1.0},
            "machine": {"mean": 0.5, "iou.sky": 0.5, "iou.road": 0.0},
        }
        found = {p.name: p for p in panels.plots(self.facts(evaluation), ("sky", "road", "car"))}
        assert {"objects", "categories", "figures"} <= set(found)
        assert found["objects"].title == "Categories in an image"
        assert "Images that show a category" in found["categories"].caption
        assert found["figures"].title == "IoU of every category"
        from matplotlib.figure import Figure

        figure = Figure()
        found["figures"].draw(figure, plots.LIGHT)
        widths = [bar.get_width() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
        assert widths == [1.0, 1.0, 0.5, 0.0]

    def test_looks_that_risked_nothing_have_no_section(self) -> None:
        facts = self.facts(None)
        facts.status["promise"] |= {"rule": "exact", "delta": 0.1, "certificates": []}
        look = {"look": 1, "stage": 1, "labels": 9, "allowed": 0.1, "spent": 0.0, "total": 0.0, "accepted": 5}
        facts.status["risk"] = [look]
        assert "risk" not in {p.name for p in panels.plots(facts, ("sky", "road", "car"))}
        facts.status["risk"] = [look, look | {"look": 2, "spent": 0.1, "total": 0.1}]
        assert "risk" in {p.name for p in panels.plots(facts, ("sky", "road", "car"))}

    def test_labels_of_one_source_have_one_confusion_matrix(self) -> None:
        labels = [measure.Measured(label(0, {"category": "a"}, "human"), {"category": "b"}, 0.0, 1, 1)]
        plot = panels._of_confusion(groups.confusions(labels, ("a", "b")))
        assert plot.caption.endswith("The labels are all of people.")
        from matplotlib.figure import Figure

        figure = Figure()
        plot.draw(figure, plots.LIGHT)
        assert [ax.get_title() for ax in figure.axes] == ["people: 100.0% of 1 wrong"]

    def test_without_a_price_of_a_label_nothing_is_said_of_the_right(self) -> None:
        facts = self.facts(None)
        nothing = dict.fromkeys(("human_label_usd", "machine_label_usd", "label_usd"))
        facts.status["cost_usd"] |= {"if_all_human": 9.0}
        for each, right in ((nothing, False), (nothing | {"label_usd": 0.1}, True)):
            facts.status["money"] = each
            found = next(p for p in panels.plots(facts, ("sky",)) if p.name == "money")
            assert ("Right" in found.caption) is right

    def test_without_a_truth_there_are_no_figures(self) -> None:
        assert "figures" not in {p.name for p in panels.plots(self.facts(None), ("sky", "road", "car"))}


class TestPromise:
    """What the page says of the promise, for the states that it can be in."""

    @staticmethod
    def said(machine: int = 10, state: str = "finished", **given: Any) -> dict[str, Any]:
        promise = PROMISE | {"metric": "mean IoU", "rule": "exact", "exact": True, "delta": 0.1, "unproven": 0}
        promise |= {
            "estimated": None,
            "measured": None,
            "true": None,
            "true_n": 0,
            "kept": None,
            "certificates": [],
            "looks": 1,
        }
        return promising.promised({"promise": promise | given, "items": {"machine": machine}, "state": state})

    def test_what_is_certified_is_so(self) -> None:
        found = self.said(true=0.7, true_n=10, kept=True)
        assert found["words"] == (
            "The mean IoU of the machine labels is at least 0.6, except with a probability of at most 0.1, shown by "
            "an exact test."
        )
        assert found["verdict"] == ("Kept: in truth, mean IoU 0.700.", "kept")
        assert found["scale"].endswith("the dashed line is what was promised, 0.600.")

    @pytest.mark.parametrize("machine", [0, 10])
    def test_what_is_not_certified_is_only_asked_for(self, machine: int) -> None:
        found = self.said(machine, certified=None, unproven=machine)
        assert found["words"] == (
            "The mean IoU of the machine labels is to be at least 0.6, except with a probability of at most 0.1; "
            "nothing is certified."
        )
        assert found["verdict"][1] == "open"
        assert found["scale"].endswith("the dashed line is what was asked for, 0.600.")

    def test_without_a_certificate_there_is_no_verdict(self) -> None:
        audit = {"measured": 0.48, "audit": {"audited": 12}}
        assert self.said(certified=None, true=1.0, true_n=10, **audit)["verdict"] == (
            "Nothing is certified, so nothing is promised; against the truth, mean IoU 1.000; an audit of 12 measured "
            "0.480.",
            "open",
        )
        assert "measured 0.480" in self.said(0, "running", certified=None, **audit)["verdict"][0]

    def test_a_part_that_is_certified_has_a_verdict_of_its_own(self) -> None:
        found = self.said(certified=None, certified_rest=0.61, unproven=4, true=0.7, true_n=6, kept=True)
        assert found["words"].endswith("; this is certified of a part of them.")
        assert found["verdict"][1] == "kept"
        assert "6 of 8" in self.said(12, certified=None, certified_rest=0.61, unproven=4, true_n=6)["verdict"][0]

    def test_the_rule_of_the_plain_mean_claims_nothing(self) -> None:
        words = self.said(certified=None, rule="empirical")["words"]
        assert words.startswith("The mean IoU of the machine labels is to be at least 0.6. The rule in use")

    def test_numbers_say_what_they_are_measured_against(self) -> None:
        found = self.said(estimated=0.7, true=0.8, true_n=3)
        assert [(name, said.rpartition("against ")[2]) for name, _, said in found["numbers"]] == [
            ("certified", "labels of people"),
            ("estimated", "labels of people"),
            ("true", "the truth, 3 images"),
        ]

    @pytest.mark.parametrize(
        ("state", "driven", "reopened", "said"),
        [
            ("running", True, False, "running"),
            ("running", False, False, "stopped"),
            ("running", False, True, "wants to go on"),
            ("finished", False, False, "finished"),
        ],
    )
    def test_a_run_that_nobody_drives_does_not_run(self, state: str, driven: bool, reopened: bool, said: str) -> None:
        assert page._state({"state": state, "driven": driven, "reopened": reopened}) == said


class TestByCategory:
    def test_every_source_has_its_column(self) -> None:
        evaluation = {
            "human": {"iou.car": 0.9},
            "machine": {"iou.car": 0.5, "iou.sky": 0.75},
            "all": {"iou.car": 0.7, "iou.sky": 0.75},
        }
        quality = {by: {"count": n} for by, n in (("human", 2), ("machine", 3), ("all", 5))}
        found = page._by_category({"evaluation": evaluation, "quality": quality})
        assert (found.figures, found.sources) == (["IoU"], ["people", "machine", "all"])
        assert found.rows == [("car", ["0.900", "0.500", "0.700"]), ("sky", ["–", "0.750", "0.750"])]

    def test_all_is_left_out_where_it_is_one_source(self) -> None:
        evaluation = {
            "human": {"iou.car": 0.9, "iou.sky": 0.5},
            "machine": {},
            "all": {"iou.car": 0.9, "iou.sky": 0.5},
        }
        quality = {by: {"count": n} for by, n in (("human", 2), ("machine", 0), ("all", 2))}
        found = page._by_category({"evaluation": evaluation, "quality": quality})
        assert (found.sources, found.rows) == (["people"], [("car", ["0.900"]), ("sky", ["0.500"])])

    def test_a_single_category_has_no_table_of_its_own(self) -> None:
        evaluation = {by: {"recall": 0.9, "recall.car": 0.9} for by in ("human", "machine", "all")}
        quality = {by: {"count": 2} for by in ("human", "machine", "all")}
        assert page._by_category({"evaluation": evaluation, "quality": quality}).rows == []


NAMES = ("sky", "road", "car")


class TestMasks:
    def drawn(self, label: Any, truth: Any = None, answers: Any = ()) -> Any:
        """(H, W, 3) uint8 of masks on white, a pixel a pixel."""
        image = Image.new("RGB", np.asarray(label).shape[::-1], "white")
        true = None if truth is None else mask(truth)
        assert overlays.draw(image, mask(label), true, [mask(a) for a in answers], NAMES, "#102030")
        return np.asarray(image)

    @staticmethod
    def under(colour: str, opacity: float) -> list[int]:
        """That colour over white."""
        parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        return [round(255 * (1 - opacity) + opacity * v) for v in parts]

    @pytest.mark.parametrize("size", [(60, 80), (13, 17), (7, 5), (1, 1), (90, 30), (150, 200), (61, 79)])
    def test_a_mask_is_shrunk_as_if_it_had_been_dense(self, size: tuple[int, int]) -> None:
        index = np.random.default_rng(0).integers(-2, 3, (60, 80))
        ys, xs = (((np.arange(n) + 0.5) * of / n).astype(int) for n, of in zip(size, index.shape, strict=True))
        found = overlays.read(mask(index), NAMES, size)
        assert found is not None
        assert found.tolist() == index[ys][:, xs].tolist()

    @pytest.mark.parametrize(
        "payload",
        [
            {"boxes": [box(0)]},
            {"category": "sky"},
            {"size": [4, 4], "polygons": []},
            {"size": [4, 5], "regions": [{"category": "sky", "counts": masks.encode(np.ones((4, 4), bool))}]},
            {"size": [4, 4], "regions": [{"category": "sky", "counts": "~~"}]},
            {"size": [4, 4], "regions": [{"category": "moon", "counts": masks.encode(np.ones((4, 4), bool))}]},
        ],
    )
    def test_what_is_no_mask_draws_nothing(self, payload: dict[str, Any]) -> None:
        image = Image.new("RGB", (8, 8))
        assert not overlays.draw(image, payload, None, [], NAMES, "#102030")
        assert not np.asarray(image).any()

    def test_categories_are_filled_void_is_grey_and_the_rest_is_bare(self) -> None:
        found = self.drawn(np.repeat([[0, 2, -2, -1]], 10, axis=0).repeat(10, axis=1))
        assert found[5, 5].tolist() == self.under(overlays.colour(0), overlays.FILL)
        assert found[5, 15].tolist() == self.under(overlays.colour(2), overlays.FILL)
        assert found[5, 10].tolist() == self.under(overlays.colour(2), 1)  # its outline
        assert found[5, 25].tolist() == self.under(overlays.NOTHING, overlays.NOTHING_FILL)
        assert found[5, 35].tolist() == [255, 255, 255]

    def test_stripes_of_the_truth_where_the_label_is_wrong_and_nowhere_else(self) -> None:
        given = np.zeros((40, 60), int)
        true = given.copy()
        true[:, 20:40], true[:, 40:] = 1, -2
        found = self.drawn(given, true)
        said, truth = (self.under(overlays.colour(n), overlays.FILL) for n in (0, 1))
        assert {tuple(p) for p in found[:, :20].reshape(-1, 3).tolist()} == {tuple(said)}
        inside = found[:, 20:40].reshape(-1, 3).tolist()
        assert {tuple(p) for p in inside} == {tuple(said), tuple(truth)}
        assert inside.count(truth) == pytest.approx(len(inside) / 2, rel=0.1)
        grey = self.under(overlays.NOTHING, overlays.NOTHING_FILL)
        assert {tuple(p) for p in found[:, 40:].reshape(-1, 3).tolist()} == {tuple(grey)}

    def test_single_answers_are_borders(self) -> None:
        answer = np.zeros((10, 10), int)
        answer[:, 6:] = 1
        found = self.drawn(np.zeros((10, 10), int), None, [answer])
        line = (found == (0x10, 0x20, 0x30)).all(axis=2)
        assert line[:, 6].all()
        assert line.sum() == 10

    def test_colours_differ_and_none_is_that_of_void(self) -> None:
        found = {overlays.colour(n) for n in range(80)}
        assert len(found) == 80
        assert overlays.NOTHING not in found

    def test_the_key_names_what_occurs(self) -> None:
        seen = measure.Measured(label(0, mask([[0, -1]])), mask([[2, -2]]), 0.0, 1, 1)
        assert [(k.look, k.what.partition(",")[0]) for k in galleries._key([seen], True, NAMES)] == [
            ("fill", "sky"),
            ("fill", "car"),
            ("fill", "void"),
            ("stripes", "wrong; the stripes have the colour of what is true"),
            ("line", "single answers"),
        ]
        assert galleries._key([seen], True, NAMES)[1].colour == overlays.colour(2)
        blind = measure.Measured(label(0, mask([[0, -1]])), None, None, 1, None)
        assert [k.what for k in galleries._key([blind], False, NAMES)] == ["sky"]

    def test_a_picture_of_a_large_image_is_small(self, tmp_path: Path) -> None:
        Image.new("RGB", (1760, 1320), "white").save(tmp_path / "white.png")
        item = Item(row=0, id="a", name="white.png", uri=str(tmp_path / "white.png"), width=1760, height=1320)
        index = np.full((1320, 1760), -1)
        index[:660] = 2
        found = pictures.picture(
            item, measure.Measured(label(0, mask(index)), None, None, 1, None), "q", True, categories=NAMES
        )
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.uri.partition(",")[2]))), int)
        assert shown.shape == (pictures.HEIGHT, pictures.WIDTH, 3)
        assert np.abs(shown[80, 200] - self.under(overlays.colour(2), overlays.FILL)).max() < 8
        assert shown[250].min() > 247


class TestPictures:
    @pytest.fixture
    def item(self, tmp_path: Path) -> Item:
        Image.new("RGB", (1760, 1320), (0, 0, 0)).save(tmp_path / "black.png")
        return Item(row=0, id="a", name="black.png", uri=str(tmp_path / "black.png"), width=1760, height=1320)

    def test_boxes_are_drawn_where_they_are(self) -> None:
        image = Image.new("RGB", (100, 50))
        payload = {"boxes": [{"category": "a", "xyxy": [20, 20, 160, 80]}]}
        pictures.draw_payload(image, payload, "#ff0000", (0.5, 0.5), width=2, plain=True)
        red = np.asarray(image)[..., 0] > 200
        ys, xs = np.nonzero(red)
        assert (xs.min(), xs.max(), ys.min(), ys.max()) == (10, 80, 10, 40)
        assert not red[20:30, 20:70].any()

    def test_other_payloads_leave_the_image_alone(self) -> None:
        image = Image.new("RGB", (100, 50))
        pictures.draw_payload(image, {"category": "a"}, "#ff0000", (1, 1), width=2)
        for other in (
            {"points": [[1, 2]]},
            {"boxes": [[1, 2, 3, 4]]},
            {"boxes": [{"xywhr": [1, 2, 3, 4, 5]}]},
            {"boxes": 1},
        ):
            pictures.draw_payload(image, other, "#ff0000", (1, 1), width=2)
        assert not np.asarray(image).any()

    def test_the_true_category_stands_beside_the_label_where_there_are_several(self, item: Item) -> None:
        wrong = measure.Measured(label(0, {"boxes": [box(800)]}), {"boxes": [box(800, "drum")]}, 0.0, 1, 1)
        wrong = replace(wrong, label=wrong.label.model_copy(update={"payload": {"boxes": [WIDE]}}))
        wrong = replace(wrong, truth={"boxes": [WIDE | {"category": "drum"}]})

        def green(named: bool) -> int:
            found = pictures.picture(item, wrong, "mean IoU", named=named)
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.uri.partition(",")[2]))), int)
            return int(((shown - (0x2F, 0x9E, 0x57)).__abs__().max(axis=2) < 30).sum())

        assert green(True) > green(False) + 300

    def test_names_stay_in_the_picture_and_off_each_other(self) -> None:
        image = Image.new("RGB", (120, 100))
        plates: list[pictures.Plate] = []
        payload = {"boxes": [box(110, "crate") | {"xyxy": [110, 50, 118, 90]}] * 3}
        pictures._names(image, payload, "#ff0000", (1, 1), True, plates)
        assert all(x >= 0 and y >= 0 and right < 120 and bottom < 100 for x, y, right, bottom in plates)
        tops = sorted(y for _, y, _, _ in plates)
        assert tops[1] > tops[0]

    def test_size_of_a_picture(self, item: Item) -> None:
        found = pictures.picture(item, measured(0, 0.5), "mean IoU", named=True)
        assert (found.width, found.height) == (pictures.WIDTH, pictures.HEIGHT)
        assert found.uri.startswith("data:image/jpeg;base64,")
        assert "mean IoU 0.50" in found.notes

    def test_a_missing_image_is_said(self, item: Item) -> None:
        Path(item.uri).unlink()
        found = pictures.picture(item, measured(0, 0.5), "mean IoU", named=True)
        assert found.uri == ""
        assert "no such file" in found.fault

    def test_wrong_category_is_marked(self, item: Item) -> None:
        wrong = measure.Measured(label(0, {"category": "crate"}), {"category": "drum"}, 0.0, 1, 1)
        found = pictures.picture(item, wrong, "accuracy", named=True)
        assert found.wrong
        assert found.notes[0] == "crate, in truth drum"


class TestFigures:
    def test_a_plot_is_a_png_of_its_size_and_the_same_every_time(self) -> None:
        quality = {"human": np.array([0.2, 0.9]), "machine": np.zeros(0)}
        draw = figures.histogram(quality, 0.6, "mean IoU")
        light, again, dark = (plots.render(draw, t, (6, 2)) for t in (plots.LIGHT, plots.LIGHT, plots.DARK))
        assert light[:8] == b"\x89PNG\r\n\x1a\n"
        assert light == again
        assert light != dark

    def test_a_plot_is_an_svg_and_the_same_every_time(self) -> None:
        quality = {"human": np.array([0.2, 0.9]), "machine": np.zeros(0)}
        draw = figures.histogram(quality, 0.6, "mean IoU")
        first, again = (plots.render(draw, plots.LIGHT, (6, 2), "svg") for _ in range(2))
        assert first == again
        assert b"<svg" in first[:500]
        assert not re.search(rb"dc:date|[Mm]atplotlib v", first), "when, by what"

    def test_one_layout_does_for_both_themes_and_both_forms(self) -> None:
        quality = {"human": np.array([0.2, 0.9]), "machine": np.array([0.5])}
        draw = figures.histogram(quality, 0.6, "mean IoU")
        found = plots.render_all(draw, (6, 2))
        assert found.light == plots.render(draw, plots.LIGHT, (6, 2))
        assert found.dark == plots.render(draw, plots.DARK, (6, 2))
        assert found.svg == plots.render(draw, plots.LIGHT, (6, 2), "svg")
        assert found == plots.render_all(draw, (6, 2))

    def test_confusion_matrices_say_their_error_and_their_size(self) -> None:
        from matplotlib.figure import Figure

        pairs = [("human", "a", "a"), ("human", "b", "a"), ("machine", "b", "b"), ("machine", "b", "b")]
        labels = [
            measure.Measured(label(k, {"category": said}, source), {"category": true}, None, 1, 1)
            for k, (source, true, said) in enumerate(pairs)
        ]
        found = groups.confusions(labels, ("a", "b"))
        assert found["all"] == {"count": 4, "wrong": 0.25, "matrix": [[1, 0], [1, 2]]}
        assert found["machine"]["matrix"] == [[0, 0], [0, 2]]
        figure = Figure()
        categories.confusion(found["categories"], {s: found[s] for s in ("all", "human", "machine")})(
            figure, plots.LIGHT
        )
        titles = [ax.get_title() for ax in figure.axes]
        assert titles == ["all: 25.0% of 4 wrong", "people: 50.0% of 2 wrong", "machine: 0.0% of 2 wrong"]

    def test_categories_are_counted_batch_by_batch(self) -> None:
        from matplotlib.figure import Figure

        labels = [measure.Measured(label(k, {"boxes": [box(0), box(1, c)]}), None, None, 2, None) for k, c in
                  enumerate(["crate", "drum"])]  # fmt: skip
        rounds = groups.by_iteration(labels, CATEGORIES)
        assert rounds["crate"] == {1: {"human": 0, "machine": 3}}
        figure = Figure()
        categories.over_iterations(("crate", "drum"), rounds)(figure, plots.LIGHT)
        heights = [[bar.get_height() for bar in ax.patches] for ax in figure.axes]  # type: ignore[attr-defined]
        assert heights == [[0, 3], [0, 1]]

    def test_images_are_counted_by_their_objects(self) -> None:
        from matplotlib.figure import Figure

        found = groups.by_objects([measured(0, None, 0.5), measured(1, None, 0.7), measured(2, None, 0.1, objects=25)])
        assert found == [
            {"objects": 1, "images": 2, "confidence": pytest.approx(0.6)},
            {"objects": 25, "images": 1, "confidence": pytest.approx(0.1)},
        ]
        figure = Figure()
        figures.objects({"human": [], "machine": found}, "objects")(figure, plots.LIGHT)
        assert figure.axes[0].get_xticklabels()[-1].get_text() == "20+"

    def test_mixed_iterations_split_their_cost(self) -> None:
        from matplotlib.figure import Figure

        iterations = [{"n": 1, "machine_usd": 0.0, "cost_usd": 5.0}, {"n": 2, "machine_usd": 2.0, "cost_usd": 3.0}]
        figure = Figure()
        figures.cost(iterations, 20.0)(figure, plots.LIGHT)
        heights = [bar.get_height() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
        assert heights == pytest.approx([5.0, 1.0, 0.0, 2.0])

    def test_the_legend_names_only_what_is_there(self) -> None:
        from matplotlib.figure import Figure

        rounds = [{"n": 1, "human": 5, "machine": 0, "objects": {"human": 9, "machine": 0}}]
        counts = {c: {"human": 2, "machine": 0, "truth": 0} for c in CATEGORIES}
        for draw in (
            figures.progress(rounds, "objects"),
            categories.categories(counts, {}, False),
            categories.over_iterations(CATEGORIES, {c: {1: {"human": 2, "machine": 0}} for c in CATEGORIES}),
        ):
            figure = Figure()
            draw(figure, plots.LIGHT)
            named = {t.get_text() for ax in figure.axes if (of := ax.get_legend()) for t in of.get_texts()}
            assert named == {"people"}
            for ax in figure.axes:
                bars = [b.get_y() + b.get_height() for b in ax.patches]  # type: ignore[attr-defined]
                assert not bars or ax.get_ylim()[1] > max(bars) or ax.yaxis_inverted(), "bars have headroom"

    def test_points_of_right_and_wrong_stay_in_the_unit_interval(self) -> None:
        y = np.repeat([0.0, 1.0], 50)
        moved = figures._spread(y)
        assert ((moved >= 0) & (moved <= 1)).all()
        assert (np.abs(moved - y) < 0.1).all()
        assert len(set(moved)) == 100

    def test_long_names_are_told_apart(self) -> None:
        names = [f"public.us-east-1.A{n}XYZ" for n in range(3)]
        assert list(marks.apart(names, 14).values()) == ["…0XYZ", "…1XYZ", "…2XYZ"]
        assert marks.apart(["ann", "bob"], 14) == {"ann": "ann", "bob": "bob"}
        mixed = [*names, "bob"]
        assert marks.apart(mixed, 14) == {n: n for n in mixed}, "cut, they would all be the same"
        assert marks.apart(["a-name-that-is-much-too-long"], 14) == {"a-name-that-is-much-too-long": "a-name-that-i…"}

    def test_a_long_pause_gives_way_to_the_number_of_answers(self) -> None:
        from matplotlib.figure import Figure

        years = {"ann": np.array([0.0, 1.0, 30000.0]), "bob": np.array([2.0, 30001.0])}
        assert crowd.gap(years)
        figure = Figure()
        crowd.pace(years)(figure, plots.LIGHT)
        assert figure.axes[0].get_xlabel() == "answers of everybody"
        assert figure.axes[0].lines[0].get_xdata()[-1] == 5  # type: ignore[index]
        steady = {"ann": np.array([0.0, 1.0, 2.0]), "bob": np.array([1.5, 3.0])}
        assert not crowd.gap(steady)

    def test_histogram_has_sixteen_bins_over_the_unit_interval(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure()
        quality = {"human": np.array([0.0, 0.01, 1.0]), "machine": np.array([0.5])}
        figures.histogram(quality, 0.6, "q")(figure, plots.LIGHT)
        bars = figure.axes[0].patches
        assert len(bars) == 16
        assert (bars[0].get_height(), bars[15].get_height()) == (2, 1)  # type: ignore[attr-defined]
        assert [line.get_xdata()[0] for line in figure.axes[1].lines] == [0.5, 0.6]  # type: ignore[index]

    def test_background_is_not_painted(self) -> None:
        index = np.array([[0, 0, 1], [0, 2, 2]])
        shown = galleries._painted(mask(index), "sky")
        assert [r["category"] for r in shown["regions"]] == ["road", "car"]
        assert galleries._painted(mask(index), "") == mask(index)
        assert galleries._painted({"boxes": [box(0)]}, "sky") == {"boxes": [box(0)]}
