"""Pages and answers: what workers are shown can't be forged into markup, what they send can't break a run."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from emulator.crew import answer_xml, look
from hypothesis import given
from hypothesis import strategies as st
from mturkkit import Start, build, requests
from PIL import Image

from gtloop import masks
from gtloop.errors import BadAnswer
from gtloop.interfaces import Context, Form, Primitive, Sample
from gtloop.records import Item, Request
from gtloop_plugins.annotators.mturk.answers import read
from gtloop_plugins.annotators.mturk.forms import CANT_TELL, NO, NOTHING, UNSURE, VERDICT, YES, Question
from gtloop_plugins.annotators.mturk.options import MturkOptions
from gtloop_plugins.annotators.mturk.service import Service
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.segmentation import Segmentation

NAMES = ("crate", "drum")
BOXES = Form(task="bbox", instructions="", primitives=(Primitive(kind="box", name="boxes", categories=NAMES),))
MASKS = Form(
    task="segmentation",
    instructions="",
    primitives=(Primitive(kind="mask", name="regions", categories=NAMES),),
    empty_allowed=False,
)
CHOICE = Form(
    task="classification",
    instructions="",
    primitives=(Primitive(kind="choice", name="category", categories=NAMES),),
    empty_allowed=False,
)
ITEM = Item(row=0, id="i0", name="a b&c.jpg", uri="/data/a.jpg", width=6, height=4)
EVIL = """</script>"'><img src=x onerror=alert(1)>]]></HTMLContent> {{ x }} & \x00\x0b"""


def page(form: Form, request: Request, **options: Any) -> str:
    context = Context(categories=NAMES, form=form, workdir=Path("/tmp/nowhere"))
    given = MturkOptions(image_url="https://images.example/{name}", **options)
    question = Question(given, context, Service(given)).of(request)
    found = ElementTree.fromstring(question)[0].text
    assert found is not None
    return found


def ask(mode: Any = "draw", item: Item = ITEM, **more: Any) -> Request:
    return Request(id="r0", item=item, answers=1, mode=mode, **more)


def says(fields: dict[str, Any], form: Form, request: Request | None = None) -> tuple[str, Any]:
    return read(answer_xml(fields), request or ask(), form)


# ---------------------------------------------------------------------------------------------- pages


def test_hostile_texts_stay_texts() -> None:
    boxes = Primitive(kind="box", name=EVIL, categories=(EVIL, "drum"))
    form = Form(
        task="bbox",
        instructions=EVIL,
        primitives=(boxes, Primitive(kind="text", name="note")),
        samples=(Sample(path="https://x.example/s.jpg?a=1&b=2", caption=EVIL),),
    )
    html = page(form, ask(item=ITEM.model_copy(update={"name": f"{EVIL}.jpg"})))
    assert "<img src=x" not in html
    assert html.count("<script") == html.count("</script>") == 1
    shown = look(f'<q xmlns="{_SCHEMA}"><HTMLContent><![CDATA[{html}]]></HTMLContent></q>')
    assert shown.choices == (EVIL.replace("\x00", "").replace("\x0b", ""), "drum") or EVIL in shown.choices[0]


_SCHEMA = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"


def test_every_page_can_be_answered_with_nothing_and_with_doubt() -> None:
    drawn = page(BOXES, ask())
    assert 'src="https://images.example/a%20b%26c.jpg"' in drawn
    assert NOTHING in drawn
    assert UNSURE in drawn
    assert NOTHING in page(MASKS, ask()), "no region is an answer, too"
    assert CANT_TELL.replace("'", "&#x27;") in page(CHOICE, ask())


def test_more_than_ten_categories_become_a_list() -> None:
    many = tuple(f"kind {n}" for n in range(30))
    form = CHOICE.model_copy(update={"primitives": (Primitive(kind="choice", name="category", categories=many),)})
    html = page(form, ask())
    assert html.count("<option") == 32
    assert says({"category": "kind 29"}, form) == ("label", {"category": "kind 29"})
    assert says({"category": CANT_TELL}, form) == ("cannot_tell", None)


def test_a_proposal_is_shown_to_be_verified_or_adjusted() -> None:
    proposal = {"boxes": [{"category": "crate", "xyxy": [1.0, 1.0, 4.0, 3.0]}]}
    verify, adjust = ask("verify", proposal=proposal), ask("adjust", proposal=proposal)
    assert "overlay=" in page(BOXES, verify)
    assert "initial-value=" in page(BOXES, adjust)
    assert "initial-value=" not in page(BOXES, ask())
    assert says({VERDICT: {"label": YES}}, BOXES, verify) == ("label", proposal)
    assert says({VERDICT: {"label": NO}}, BOXES, verify) == ("wrong", None)
    assert says({VERDICT: {"label": CANT_TELL}}, BOXES, verify) == ("cannot_tell", None)
    assert says({VERDICT: {"label": "maybe"}}, BOXES, verify)[1]["unreadable"]
    kept = {"boxes": {"boundingBoxes": [{"label": "crate", "left": 1, "top": 1, "width": 3, "height": 2}]}}
    assert says(kept, BOXES, adjust) == ("label", proposal)


@pytest.mark.parametrize(
    ("kind", "key", "sent", "expected"),
    [
        ("point", "keypoints", {"x": 2, "y": 3}, [1.0, 1.5]),
        ("polyline", "polylines", {"vertices": [{"x": 0, "y": 0}, {"x": 4, "y": 2}]}, [[0.0, 0.0], [2.0, 1.0]]),
        ("polygon", "polygons", {"vertices": [{"x": 0, "y": 0}, {"x": 4, "y": 2}]}, [[0.0, 0.0], [2.0, 1.0]]),
    ],
)
def test_points_and_lines(kind: Any, key: str, sent: dict[str, Any], expected: list[Any]) -> None:
    form = Form(task="x", instructions="", primitives=(Primitive(kind=kind, name="marks", categories=NAMES),))
    fields = {"marks": {key: [{"label": "drum", **sent}], "inputImageProperties": {"width": 12, "height": 8}}}
    said = says(fields, form)
    assert said == ("label", {"marks": [{"category": "drum", "xy": expected}]})
    assert says({"marks": {}}, form) == ("empty", None)
    assert "unreadable" in says({"marks": {key: [{"label": "drum", "vertices": [1], "x": None}]}}, form)[1]
    adjust, verify = (page(form, ask(mode, proposal=said[1])) for mode in ("adjust", "verify"))
    assert "initial-value=" in adjust
    assert f'<select name="{VERDICT}"' in verify
    assert says({VERDICT: NO}, form, ask("verify", proposal=said[1])) == ("wrong", None)


def test_a_proposed_mask_is_a_picture_that_reads_back(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    proposal = {"size": [4, 6], "regions": [{"category": "drum", "counts": masks.encode(mask)}]}
    context = Context(categories=NAMES, form=MASKS, workdir=tmp_path)
    options = MturkOptions(image_url="https://i.example/{name}", copies_url="https://c.example/{name}")
    html = Question(options, context, Service(options)).of(ask("adjust", proposal=proposal))
    assert "https://c.example/r0.png" in html
    png = base64.b64encode((tmp_path / "images" / "r0.png").read_bytes()).decode()
    colour = html.split("&quot;drum&quot;: {&quot;color&quot;: &quot;")[1][:7]
    sent = {"regions": {"labelMappings": {"drum": {"color": colour}}, "labeledImage": {"pngImageData": png}}}
    assert says(sent, MASKS) == ("label", proposal)


def test_samples_are_small_and_inside_the_page(tmp_path: Path) -> None:
    Image.effect_noise((2000, 1500), 80).convert("RGB").save(tmp_path / "good.jpg")
    samples = (
        Sample(path=str(tmp_path / "good.jpg"), caption="Tight"),
        Sample(path=str(tmp_path / "good.jpg"), good=False),
    )
    html = page(BOXES.model_copy(update={"samples": samples}), ask())
    assert html.count("data:image/jpeg;base64,") == 2
    assert "✓ Tight" in html
    assert "✗ Wrong" in html


# --------------------------------------------------------------------------------------------- answers


def png(pixels: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_boxes_are_moved_into_the_frame_of_the_image() -> None:
    """Workers saw a copy of twice the size; a click that left no area is no box."""
    shown = {"width": 12, "height": 8}
    drawn = [
        {"label": "drum", "left": 2, "top": 2, "width": 4, "height": 6},
        {"label": "drum", "left": 2, "top": 2, "width": 0, "height": 6},
    ]
    sent = {"boxes": {"boundingBoxes": drawn, "inputImageProperties": shown}}
    assert says(sent, BOXES) == ("label", {"boxes": [{"category": "drum", "xyxy": [1.0, 1.0, 3.0, 4.0]}]})


@pytest.mark.parametrize("sent", [{"boxes": {}}, {"boxes": {"boundingBoxes": []}}, {NOTHING: {"yes": True}}])
def test_no_boxes_mean_an_empty_image(sent: dict[str, Any]) -> None:
    assert says(sent, BOXES) == ("empty", None)


def test_doubt_comes_before_what_was_drawn() -> None:
    box = {"label": "drum", "left": 2, "top": 2, "width": 4, "height": 1}
    assert says({"boxes": {"boundingBoxes": [box]}, UNSURE: {"yes": True}}, BOXES) == ("cannot_tell", None)


def test_a_mask_is_read_by_its_colours() -> None:
    pixels = np.full((4, 6, 3), 255)
    pixels[0, 1:4] = (44, 160, 44)
    pixels[3, 5] = (1, 2, 3)  # nobody's colour: background
    mappings = {"crate": {"color": "#ff0000"}, "drum": {"color": "#2ca02c"}}
    sent = {"regions": {"labelMappings": mappings, "labeledImage": {"pngImageData": png(pixels)}}}
    outcome, payload = says(sent, MASKS)
    (region,) = payload["regions"]
    assert (outcome, payload["size"], region["category"]) == ("label", [4, 6], "drum")
    assert masks.decode(region["counts"], (4, 6)).sum() == 3
    assert says({NOTHING: {"yes": True}}, MASKS) == ("label", {"size": [4, 6], "regions": []})


BAD_MASKS = [
    {"labeledImage": {"pngImageData": "no base64!"}, "labelMappings": {}},
    {"labeledImage": {"pngImageData": base64.b64encode(b"no png").decode()}, "labelMappings": {}},
    {"labeledImage": {"pngImageData": png(np.zeros((4, 6, 3)))}, "labelMappings": {"drum": {"color": "red"}}},
    {"labeledImage": {"pngImageData": png(np.zeros((4, 6, 3)))}, "labelMappings": [1]},
    {
        "labeledImage": {"pngImageData": png(np.zeros((4, 6, 3)))},
        "labelMappings": {"drum": {"color": "#000000"}, "crate": {"color": "#000000"}},
    },
    {},
]


@pytest.mark.parametrize("mask", BAD_MASKS)
def test_bad_masks_are_unreadable(mask: dict[str, Any]) -> None:
    outcome, payload = says({"regions": mask}, MASKS)
    assert (outcome, "unreadable" in payload) == ("label", True)
    with pytest.raises(BadAnswer):
        Segmentation(Segmentation.Options(), Context(categories=NAMES)).parse(payload, ITEM)


_FAT = '{"a":' * 100_000
HOSTILE = [
    None,
    "",
    " ",
    "<a/>",
    "<a>" * 100_000,
    '<!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><l>&b;</l>',
    '<!DOCTYPE l SYSTEM "file:///etc/passwd"><l/>',
    answer_xml({"boxes": {"boundingBoxes": [{"label": "drum"}]}}),
    answer_xml({"boxes": {"boundingBoxes": [7]}}),
    answer_xml({"boxes": {"boundingBoxes": [{}] * 100_000}}),
    answer_xml({"boxes": {"boundingBoxes": [{"label": "drum", "left": 1e300, "top": 0, "width": 1, "height": 1}]}}),
    answer_xml({"boxes": {"boundingBoxes": [{"label": "drum", "left": True, "top": 0, "width": 1, "height": 1}]}}),
    answer_xml({"boxes": {"boundingBoxes": [{"label": "x" * 50_000, "left": 1, "top": 0, "width": 1, "height": 1}]}}),
    answer_xml({"x": 1}).replace('{"x": 1}', _FAT),
    answer_xml({"x": 1}).replace('"x": 1', '"x": Infinity'),
    answer_xml({"x": 1}).replace('[{"x": 1}]', "9" * 10_000),
    "\ud800" + answer_xml({"boxes": {}}),
    answer_xml({"x": "y" * 9_000_000}),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_small_misfits(text: str | None) -> None:
    said = read(text, ask(), BOXES)
    assert said.payload is not None
    assert "unreadable" in said.payload
    assert len(json.dumps(said.payload).encode()) < 5_000
    json.dumps(said.payload, ensure_ascii=False).encode("utf-8")
    with pytest.raises(BadAnswer):
        BBox(BBox.Options(), Context(categories=NAMES)).parse(said.payload, ITEM)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from(["boxes", "regions", "category", "boundingBoxes", "label", "left", "labelMappings", UNSURE])


@given(
    st.dictionaries(_KEYS, st.dictionaries(_KEYS, _JSON, max_size=4) | _JSON, max_size=4), st.sampled_from([0, 1, 2])
)
def test_no_json_breaks_the_reader(fields: dict[str, Any], which: int) -> None:
    said = read(answer_xml(fields), ask(), (BOXES, MASKS, CHOICE)[which])
    json.dumps(said.payload, allow_nan=False).encode()
    assert said.outcome in ("label", "empty", "cannot_tell")


# -------------------------------------------------------------------------------------------------- S3


class _Bucket(BaseHTTPRequestHandler):
    put: dict[str, bytes] = {}

    def do_PUT(self) -> None:
        self.put[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def test_signed_urls_of_s3_and_copies_beside_the_images(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = HTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=bucket.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{bucket.server_address[1]}")
    emulator = start()
    annotator = build(tmp_path / "work", emulator, image_url="s3://labels/in put/")
    annotator.check(1)
    upright, turned = requests(tmp_path, 2)
    turned = turned.model_copy(update={"item": turned.item.model_copy(update={"orientation": 6})})
    annotator.submit([upright, turned])
    one, two = (look(h["question"]).image for h in emulator.rows("SELECT question FROM hit ORDER BY number"))
    assert "/labels/in%20put/tiny_000.png?" in one
    assert "Expires" in one
    assert "Signature" in one
    assert "/gtloop-copies/" in two
    (path,) = _Bucket.put
    assert path.startswith("/labels/in%20put/gtloop-copies/")
    bucket.shutdown()
