"""People who look at a page as it was posted and answer it, as the task's own synthetic people would.

Who works on an image, and what they say of it, depends on the image and the person only: never on when a HIT was posted
or in which order.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from emulator.market import Market, Refusal
from gtloop import keyed, masks
from gtloop.interfaces import Context, Simulated
from gtloop.records import Item
from gtloop.registry import Registry

_CONTENT = "{http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd}HTMLContent"
_WIDGET = re.compile(r"<(crowd-bounding-box|crowd-semantic-segmentation|crowd-image-classifier) ([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_SELECT = re.compile(r'<select name="([^"]*)"')
_OPTION = re.compile(r'<option value="([^"]+)"')
_CHECKBOX = re.compile(r'<crowd-checkbox name="([^"]*)" value="([^"]*)">([^<]*)<')
_SRC = re.compile(r'src="([^"]*)"')


RUBBISH = "<a>" * 50 + "\x01 give me money"


@dataclass(frozen=True)
class Page:
    """What a worker sees."""

    image: str
    widget: str
    name: str
    choices: tuple[str, ...]
    ticks: dict[str, str]
    """Text of a box to tick: its name."""


def look(question: str) -> Page:
    page = ElementTree.fromstring(question).findtext(_CONTENT) or ""
    ticks = {html.unescape(text): name for name, _, text in _CHECKBOX.findall(page)}
    widget = _WIDGET.search(page)
    if widget is None:
        src = next(s for s in _SRC.findall(page) if not s.endswith(".js") and not s.startswith("data:"))
        name, options = _SELECT.findall(page)[0], _OPTION.findall(page)
        return Page(html.unescape(src), "select", html.unescape(name), tuple(map(html.unescape, options)), ticks)
    given = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(widget[2])}
    choices = json.loads(given.get("categories") or given.get("labels") or "[]")
    return Page(given["src"], widget[1], given["name"], tuple(choices), ticks)


class Crew:
    """``plan``: task, classes, seed, workers, how many of them send ``rubbish``; ``images``: name to truth, size."""

    def __init__(self, market: Market, plan: dict[str, Any]) -> None:
        self._market, self._plan = market, plan
        registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
        context = Context(categories=tuple(plan["classes"]), seed=plan["seed"])
        self._task: Any = registry.build(
            "task", plan["task"], registry.options("task", plan["task"], {}, "crew"), context
        )
        self.names = [f"A{n:03d}WORKER" for n in range(plan["workers"])]
        self._rubbish = set(self.names[: plan.get("rubbish", 0)])
        self._personas = {w: self._task.worker(keyed.rng(plan["seed"], "persona", w)) for w in self.names}

    def work(self, hit_id: str, most: int | None = None) -> int:
        """Answer a HIT as often as it may be; returns how often."""
        hit = self._market.hit(hit_id)
        page = look(hit["question"])
        name = unquote(urlsplit(page.image).path.rpartition("/")[2])
        order = sorted(self.names, key=lambda w: keyed.digest(self._plan["seed"], name, w))
        done = 0
        for worker in order:
            if most is not None and done >= most:
                break
            try:
                taken = self._market.accept(worker, hit_id)
            except Refusal:
                continue
            said = self._says(name, worker)
            text = RUBBISH if worker in self._rubbish else answer_xml(self._fields(page, said, name))
            self._market.submit(taken, text, said.seconds)
            done += 1
        return done

    def _item(self, name: str) -> Item:
        image = self._plan["images"][name]
        return Item(row=0, id=name, name=name, uri=name, width=image["width"], height=image["height"])

    def _says(self, name: str, worker: str) -> Simulated:
        rng = keyed.rng(self._plan["seed"], "says", name, worker)
        truth = self._plan["images"].get(name, {}).get("truth")
        if truth is None:
            return Simulated("cannot_tell", None, 3.0)
        said: Simulated = self._task.simulate(truth, self._personas[worker], self._item(name), rng)
        return said

    def _fields(self, page: Page, said: Simulated, name: str) -> dict[str, Any]:
        """What the page's form sends."""
        ticked = {tick: {"yes": False} for tick in page.ticks.values()}
        payload = said.payload or {}
        if said.outcome == "cannot_tell":
            for text, tick in page.ticks.items():
                ticked[tick] = {"yes": text.startswith("Can't tell")}
        if page.widget in ("select", "crowd-image-classifier"):
            label = page.choices[-1] if said.outcome == "cannot_tell" else payload["category"]
            return {page.name: label if page.widget == "select" else {"label": label}, **ticked}
        if said.outcome == "empty" or not (payload.get("boxes") or payload.get("regions")):
            for text, tick in page.ticks.items():
                ticked[tick] = ticked[tick] if ticked[tick]["yes"] else {"yes": text.startswith("There is nothing")}
            return {page.name: {"inputImageProperties": self._size(name)}, **ticked}
        draw = self._boxes if page.widget == "crowd-bounding-box" else self._mask
        return {page.name: {**draw(payload, page.choices), "inputImageProperties": self._size(name)}, **ticked}

    def _size(self, name: str) -> dict[str, int]:
        return {key: self._plan["images"].get(name, {}).get(key, 1) for key in ("width", "height")}

    def _boxes(self, payload: dict[str, Any], choices: tuple[str, ...]) -> dict[str, Any]:
        found = []
        for box in payload["boxes"]:
            x1, y1, x2, y2 = (round(v) for v in box["xyxy"])
            size = {"width": max(1, x2 - x1), "height": max(1, y2 - y1)}
            found.append({"label": box["category"], "left": x1, "top": y1, **size})
        return {"boundingBoxes": found}

    def _mask(self, payload: dict[str, Any], choices: tuple[str, ...]) -> dict[str, Any]:
        height, width = payload["size"]
        pixels = np.full((height, width, 3), 255, np.uint8)
        mappings = {}
        for region in payload["regions"]:
            colour = (40 + choices.index(region["category"]), 160, 44)
            pixels[masks.decode(region["counts"], (height, width))] = colour
            mappings[region["category"]] = {"color": "#" + bytes(colour).hex()}
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        png = base64.b64encode(out.getvalue()).decode()
        return {"labelMappings": mappings, "labeledImage": {"pngImageData": png}}


def answer_xml(fields: dict[str, Any]) -> str:
    """What ``crowd-form`` hands in."""
    text = html.escape(json.dumps([fields]), quote=False)
    return (
        '<?xml version="1.0" encoding="ASCII"?><QuestionFormAnswers xmlns="http://mechanicalturk.amazonaws.com/'
        'AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"><Answer><QuestionIdentifier>taskAnswers'
        f"</QuestionIdentifier><FreeText>{text}</FreeText></Answer></QuestionFormAnswers>"
    )
