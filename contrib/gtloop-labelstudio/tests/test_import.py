"""Label Studio's own import takes what the format writes, and the format reads what its export gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gtloop.interfaces import Context, ExportRow, Primitive
from gtloop.records import Label
from gtloop.testing.fakes import CATEGORIES, SIZE, tiny_items, tiny_truth
from studio import Server

from gtloop_labelstudio import forms
from gtloop_labelstudio.format import _FORMS, LabelStudioFormat, LabelStudioFormatOptions


@pytest.mark.parametrize("task", ["bbox", "classification", "segmentation"])
def test_there_and_back(studio: Server, tmp_path: Path, task: str) -> None:
    context = Context(categories=CATEGORIES)
    fmt = LabelStudioFormat(LabelStudioFormatOptions(image_url="http://127.0.0.1:1/{name}"), context)
    items, truth = tiny_items(tmp_path / "images", 5), tiny_truth(task, 5) or []
    rows = []
    for item, payload in zip(items, truth, strict=True):
        source: Any = "machine" if item.row == 1 else "human"
        label = Label(row=item.row, payload=payload, source=source, confidence=0.75, iteration=1)
        labelled = item.row != 2
        rows.append(ExportRow(item, label if labelled else None, *SIZE, source if labelled else "pool", ""))
    info = {"categories": CATEGORIES, "run": "r", "frame": "display", "version": "0"}
    assert fmt.write(tmp_path / "out.json", rows, task, info) == []

    primitive: Primitive = _FORMS[task].model_copy(update={"categories": CATEGORIES})
    form = forms.check(Context().form or _form(task, primitive))
    project = studio.owner.post(
        "/api/projects/", {"title": f"import {task}", "label_config": forms.configuration(form)}
    )
    path = f"/api/projects/{project['id']}/import"
    with (tmp_path / "out.json").open("rb") as file:
        told = studio.owner.call("POST", path, files={"file": ("out.json", file, "application/json")})
    assert told.status_code == 201, told.text
    assert {k: told.json()[k] for k in ("task_count", "annotation_count", "prediction_count")} == {
        "task_count": 5,
        "annotation_count": 3,
        "prediction_count": 1,
    }

    exported = studio.owner.call("GET", f"/api/projects/{project['id']}/export", params={"exportType": "JSON"})
    (tmp_path / "export.json").write_bytes(exported.content)
    assert fmt.sniff(tmp_path / "export.json")
    back = {e.name: e for e in fmt.read(tmp_path / "export.json", task, CATEGORIES)}
    assert sorted(back) == [items[row].name for row in (0, 3, 4)], "Label Studio exports what has annotations"
    for row in (0, 3, 4):
        assert _rounded(back[items[row].name].payload) == _rounded(truth[row])
        assert back[items[row].name].source == "human"


def _form(task: str, primitive: Primitive) -> Any:
    from gtloop.interfaces import Form

    return Form(task=task, instructions="", primitives=(primitive,))


def _rounded(payload: Any) -> Any:
    return json.loads(json.dumps(payload), parse_float=lambda text: round(float(text), 6))


@pytest.mark.parametrize("kind", sorted(forms.CONTROLS))
def test_the_server_takes_every_form(studio: Server, kind: str) -> None:
    categories = () if kind == "text" else ('a "b" & <c>', "d")
    form = _form("any", Primitive(kind=kind, name=kind, categories=categories, multiple=True))
    given = {"label_config": forms.configuration(form)}
    told = studio.owner.call("POST", "/api/projects/validate/", json=given)
    assert told.status_code == 204, told.text
    project = studio.owner.post("/api/projects/", {"title": f"form of a {kind}", **given})
    assert set(forms.labels(form.primitives[0])) <= set(project["parsed_label_config"][kind].get("labels", ()))
