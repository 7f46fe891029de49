"""The settings of a run: one frozen table each, as they stand in ``gtloop.toml`` (``gtloop.config`` reads it)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from gtloop.money import Prices
from gtloop.origins import below

MOST_WORKERS = 100
"""Most people who answer one request."""


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunTable(Table):
    """``[run]``: what is labelled, by whom, with what."""

    source: str | None = Field(None, description="folder, glob, manifest or file of images")
    task: str = Field("bbox", description="task type")
    classes: tuple[str, ...] = Field((), description="categories, in order")
    annotator: str = Field("local", description="where human labels come from")
    detector: str = Field("torchvision", description="what learns and predicts")
    sampler: str = Field("random", description="what people label next")
    score: str = Field("mean", description="image confidence")
    executor: str = Field("local", description="where fits and predictions run")
    truth: str | None = Field(None, description="known labels, for synthetic annotators: PATH or FORMAT:PATH")
    labels: str | None = Field(None, description="human labels that are there already: PATH or FORMAT:PATH")
    warm_from: str | None = Field(None, description="run or exported model that every fit starts from")
    ledger: str | None = Field(
        None, exclude=True, description="PostgreSQL address of a new run's ledger; not given: a file in its folder"
    )
    instructions: str = Field("", description="what annotators read; a default of the task's where empty")
    workers: int = Field(3, ge=1, le=MOST_WORKERS, description="people who answer each item")
    budget_usd: float | None = Field(None, ge=0, allow_inf_nan=False, description="hard cap on everything paid")
    seed: int = Field(0, ge=0, description="of all randomness")
    preset: Literal["default", "ground-truth"] = Field("default", description="named set of defaults")
    cut: float | None = Field(
        None, gt=0, lt=1, description="least confidence of a predicted object; not given: chosen at a look, out of fold"
    )
    probe_failures: float = Field(0.1, ge=0, le=1, description="share of unreadable probe images that stops a run")

    @field_validator("classes")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(n.strip() for n in names):
            raise ValueError("categories must be distinct and not empty")
        return names


class PromiseTable(Table):
    """``[promise]``: what is promised about machine labels (docs/promise.md)."""

    kind: Literal["selective", "dataset"] = "selective"
    target: float | None = Field(None, ge=0, le=1, description="mean quality of machine labels; the task's default")
    max_loss: float | None = Field(None, ge=0, le=1, description="mean loss over all items, for kind dataset")
    delta: float = Field(0.1, gt=0, lt=1, description="probability that the promise may be broken")
    rule: Literal["exact", "ttest", "empirical"] = "exact"
    slices: Literal["joint", "own"] = Field(
        "joint", description="what kind selective is promised for: all images together, or each slice of them"
    )
    looks: int = Field(1, ge=1, description="how often it may be tested")
    audit_rate: float = Field(0.0, ge=0, le=1, description="share of each look's machine labels that people check")
    cross_fit: int = Field(3, ge=0, le=10, description="folds through which random training labels validate; 0: off")


class LoopTable(Table):
    """``[loop]``: when to certify, and whether picking is symmetric (docs/loop.md)."""

    certify: Literal["late", "every-round"] = "late"
    look: Literal["planned", "cheapest"] = Field(
        "planned",
        description="when a late look falls due: at sizes.look_at labels, or where it is expected to be cheapest",
    )
    explore: float = Field(
        0.1, ge=0, le=1, description="look 'cheapest': share of all items that people may label beyond sizes.look_at"
    )
    symmetric: bool = Field(True, description="rank pool and validation alike, refill validation at random")
    candidates: int = Field(
        100_000, ge=1, description="images that a sampler chooses from: as many at random, where there are more"
    )
    start: Literal["random", "sampler"] = Field(
        "random", description="who picks the first training items: chance (they may validate too), or the sampler"
    )


class SizesTable(Table):
    """``[sizes]``: numbers of items; what is not given follows the data set's size."""

    probe: int = Field(10, ge=1)
    validation: int | None = Field(None, ge=1, description="blind random items, the probe included")
    validation_share: tuple[tuple[int, float], ...] | None = Field(
        None, description="pairs (under this many items, share of them); 0 items: any size"
    )
    train: int | None = Field(None, ge=0, description="random training items")
    batch: int | None = Field(None, ge=1, description="items given to people in each later iteration")
    look_at: int | None = Field(None, ge=1, description="human labels before the first look")


class PeopleTable(Table):
    """``[people]``: what people are shown, how they are tested, paid and kept busy (docs/people.md)."""

    good: tuple[str, ...] = Field((), description="pictures of it done right: PATH or PATH|CAPTION")
    bad: tuple[str, ...] = Field((), description="pictures of it done wrong: PATH or PATH|CAPTION")
    gold: str | None = Field(None, description="known labels that test people: PATH or FORMAT:PATH")
    gold_share: float = Field(0.1, gt=0, le=1, description="test images mixed in for each image that is asked")
    gold_quality: float = Field(0.5, ge=0, le=1, description="least mean quality on test images; who is below is out")
    gold_after: int = Field(5, ge=1, description="test images that somebody answers before being judged by them")
    most_answers: int | None = Field(None, ge=1, description="answers that one person may give")
    first_answers: int | None = Field(
        None,
        ge=1,
        le=MOST_WORKERS,
        description="answers to a training item at first; more, up to run.workers, where these are not sure",
    )
    sure: float = Field(0.95, ge=0, le=1, description="how sure answers have to be for no more to be asked")
    proposals: Literal["never", "auto", "always"] = Field(
        "never",
        description="whether people are shown the labels of a model to correct or judge: where cheaper, if auto",
    )
    blind: float = Field(0.2, ge=0, le=1, description="share of these that people draw from nothing all the same")
    deadline_hours: float | None = Field(None, gt=0, description="hours after which a request expires")
    reject: tuple[Literal["misfits", "blocked"], ...] = Field(
        (), description="answers that are not paid: those that fit no form, those of people who are out"
    )
    ahead: int = Field(
        20, ge=0, description="random images kept ready for people at a page while a model works; 0: none"
    )


class Settings(Table):
    """All settings of a run."""

    run: RunTable = RunTable()
    promise: PromiseTable = PromiseTable()
    loop: LoopTable = LoopTable()
    sizes: SizesTable = SizesTable()
    people: PeopleTable = PeopleTable()
    prices: Prices = Prices()
    tasks: dict[str, dict[str, Any]] = {}
    annotators: dict[str, dict[str, Any]] = {}
    detectors: dict[str, dict[str, Any]] = {}
    samplers: dict[str, dict[str, Any]] = {}
    scores: dict[str, dict[str, Any]] = {}
    formats: dict[str, dict[str, Any]] = {}
    executors: dict[str, dict[str, Any]] = {}
    observers: dict[str, dict[str, Any]] = {}
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("observers", mode="before")
    @classmethod
    def _on(cls, tables: Any) -> Any:
        """An empty table turns an observer on, so None is how a change says that it is off."""
        return {k: v for k, v in tables.items() if v is not None} if isinstance(tables, dict) else tables

    def options(self, kind: str, name: str) -> dict[str, Any]:
        """The option table of a plugin."""
        table: dict[str, dict[str, Any]] = getattr(self, kind + "s")
        return table.get(name.partition("@")[0], {})

    def origins(self, kind: str, name: str) -> dict[str, str]:
        """Where each option of a plugin was given, for messages: a file, or ``-o``."""
        return below(self._origins, f"{kind}s.{name.partition('@')[0]}")

    def __eq__(self, other: object) -> bool:
        """Same values, wherever they were given."""
        return isinstance(other, Settings) and self.__dict__ == other.__dict__
