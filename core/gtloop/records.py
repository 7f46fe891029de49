"""What gtloop writes down: frozen pydantic records, money in integer micro-dollars.

Payloads (``Answer.payload``, ``Label.payload``, ``Request.proposal``) are plain JSON objects whose
meaning belongs to the task; core never looks inside one.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Payload = dict[str, Any]
"""A label as JSON; its schema belongs to the task (see ``gtloop.labels``)."""

Raw = dict[str, Any]
"""A detector's raw output for one image as JSON; its schema belongs to the task."""

Purpose = Literal["train", "validation", "control", "audit", "gold", "review"]
Outcome = Literal["label", "empty", "cannot_tell", "declined", "wrong"]
"""``wrong``: the label that was shown is not right; an answer to a request of mode ``verify`` only."""

Mode = Literal["draw", "verify", "adjust"]
"""``draw``: from nothing. ``verify``: is the proposal right (``label`` with the proposal as payload: yes; ``wrong``:
no; ``cannot_tell``: skip). ``adjust``: correct the proposal."""

Source = Literal["human", "machine", "adjusted"]

MICRO = 1_000_000
"""Micro-dollars in a dollar."""


def known_seconds(seconds: float) -> float:
    """Active seconds as somebody says them; 0, which is not known, where that is no length of time."""
    return seconds if isfinite(seconds) and seconds > 0 else 0.0


class Record(BaseModel):
    """Base of all records: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Record):
    """One image of the source.

    ``width`` and ``height`` are the stored (raw) size in pixels, unknown until first decoded;
    ``orientation`` is EXIF's, 1 to 8. ``display_size`` is what everybody works in.
    """

    row: int = Field(description="dense index in the run, int32")
    id: str = Field(description="opaque id, the only one that workers see")
    name: str = Field(description="path relative to the source, with forward slashes")
    uri: str = Field(description="where the image is read from")
    width: int | None = None
    height: int | None = None
    orientation: int = 1
    alias_of: int | None = Field(None, description="row of the identical image that is labelled instead")

    @property
    def display_size(self) -> tuple[int, int] | None:
        """(width, height) in pixels after EXIF transposition; None while unknown."""
        if self.width is None or self.height is None:
            return None
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class Request(Record):
    """One item shown to ``answers`` people. Why it is asked (its purpose) stays in the ledger."""

    id: str = Field(description="hash(run, item, purpose, attempt): the idempotency key")
    item: Item
    mode: Mode = "draw"
    proposal: Payload | None = None
    answers: int = Field(description="how many people are to answer; may only grow")
    max_price: int = Field(0, description="worst-case price of all its answers and fees, micro-dollars")
    exclude_workers: tuple[str, ...] = ()
    deadline_s: float | None = Field(None, description="seconds after submission when it expires")


class Answer(Record):
    """What one worker said about one request."""

    id: str
    request: str
    worker: str
    outcome: Outcome
    payload: Payload | None = None
    active_seconds: float = 0.0
    price: int = Field(0, description="what this answer costs, micro-dollars, fees excluded")
    fee: int = Field(default=0, description="what the platform takes for it on top, micro-dollars")
    at: str = Field(description="when it was given, ISO 8601, UTC")


class Closed(Record):
    """No further answer will come for a request; releases what is left of its reservation."""

    request: str
    delivered: int
    reason: Literal["complete", "expired", "declined", "cancelled"] = "complete"


class Settlement(Record):
    """What the requester decides about an answer."""

    answer: str
    request: str
    worker: str
    verdict: Literal["pay", "reject", "bonus"]
    amount: int = 0
    reason: str = ""


class Label(Record):
    """The label of one row, with where it comes from."""

    row: int
    payload: Payload
    source: Source
    confidence: float = Field(description="[0, 1]; not comparable between sources")
    iteration: int
    model: str | None = None
    threshold: float | None = None
    bound: float | None = Field(None, description="certified lower bound of its region's mean quality")
    workers: int = 0
    consolidation: str | None = Field(None, description="version of the consolidation that made it")


class Certificate(Record):
    """One tested slice of one look, with all that is needed to recompute the test.

    ``n`` validation values and ``pool`` pool items lie at or above ``threshold``; ``s0`` is the
    union total of the null hypothesis (``promise.py``).
    """

    look: int
    slice: str
    kind: Literal["selective", "dataset"]
    rule: Literal["exact", "ttest", "empirical"]
    target: float
    delta: float = Field(description="error probability spent on this slice at this look")
    n: int
    pool: int
    labelled: int | None = Field(
        None, description="of pool, those that got the label: a random part where a budget paid no more; None: not told"
    )
    s0: float | None = None
    p: float | None = None
    threshold: float | None = Field(None, description="lowest accepted score; None: nothing accepted")
    bound: float | None = Field(None, description="lower confidence bound of the accepted region")
    estimate: float | None = Field(None, description="plug-in mean of the validation values there")
    coverage: float = Field(0.0, description="share of the slice's pool that is accepted")
    exact: bool = Field(True, description="False where cross-fitted values took part")
    rungs: int = 0
    test: str = Field("betting-1", description="version of the test (gtloop.bounds.TEST)")
    uniform: float = Field(1.0, description="number in (0, 1] that the test used, drawn from the seed")
    why: str = Field("", description="one sentence: why this much and no more")
    evidence: str = Field("", description="path of the look's Parquet file in the run folder")
    sha256: str = Field("", description="hash of that file: labels, scores, order and ladder")

    @property
    def labels(self) -> int:
        """Machine labels that it gave."""
        return self.pool if self.labelled is None else self.labelled

    def covers(self, slice: str) -> bool:
        """Whether it speaks for items of a slice; merged slices are joined by ``+``."""
        return self.slice in ("all", slice) or slice in self.slice.split("+")


class AuditedRegion(Record):
    """What audits have found of the machine labels of one slice of one look, as they were accepted (``running.py``)."""

    look: int
    slice: str
    labels: int = Field(description="machine labels that were accepted")
    audited: int = Field(0, description="of these, people have checked")
    unknown: int = Field(0, description="withdrawn by somebody before anybody checked them: 0 below, 1 above")
    mean: float | None = Field(None, description="mean quality of those that people have checked")
    lower: float = Field(0.0, description="bound of the mean quality of all that were accepted")
    upper: float = 1.0
    remaining_lower: float | None = Field(None, description="bound of those that are machine labels still")
    approximate: tuple[float, float] | None = Field(None, description="prediction-powered interval of these")
