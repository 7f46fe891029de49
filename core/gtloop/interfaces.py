"""What a plugin subclasses. Each kind has few abstract methods; everything else has a default.

Who knows what: a ``Task`` knows labels, an ``Annotator`` delivers forms and returns answers, a
``Detector`` fits and predicts, a ``Sampler`` ranks, a ``Score`` turns features into a confidence, a
``Format`` reads and writes files, an ``Executor`` owns where and how fits and predictions run, an
``Observer`` is told what happened.
Plugin modules import their heavy library inside functions, so that listing them stays cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, cast

from pydantic import BaseModel, ConfigDict

from gtloop.records import Answer, Closed, Item, Label, Outcome, Payload, Raw, Record, Request, Settlement, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from gtloop.events import Event
    from gtloop.opened import Run
    from gtloop.state import State

API = 1
"""Version of the plugin interface in this module; a plugin states the one that it was written for."""

Rows: TypeAlias = "NDArray[np.int32]"
Frame = Literal["display", "stored"]
PrimitiveKind = Literal["choice", "box", "point", "polyline", "polygon", "mask", "text", "html"]


class Options(BaseModel):
    """Base of every plugin's options: frozen, unknown keys refused, every field described."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Primitive(Record):
    """One thing that a form asks for."""

    kind: PrimitiveKind
    name: str
    categories: tuple[str, ...] = ()
    multiple: bool = False
    html: str | None = None


class Sample(Record):
    """A picture for the instructions: how it is done, or how it is not."""

    path: str
    caption: str = ""
    good: bool = True


class Form(Record):
    """What an annotator shows: an image, instructions with samples, and primitives to fill in."""

    task: str
    instructions: str
    primitives: tuple[Primitive, ...]
    empty_allowed: bool = True
    samples: tuple[Sample, ...] = ()


class Progress(Protocol):
    """Where long work reports: ``total`` may be unknown (None)."""

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None: ...


def quiet(step: str, done: int, total: int | None, note: str = "") -> None:
    """The progress of nobody watching."""


LabelReader = Callable[[Path], Iterator[tuple[str, Payload]]]


@dataclass(frozen=True)
class Context:
    """What core hands to every plugin it builds.

    Attributes:
        categories: The run's categories, in order; index = position.
        workdir: A folder of the plugin's own inside the run.
        seed: The run's seed; randomness is keyed by it, never a stream.
        form: The form of the run's task (None while the task itself is built).
        task: The task plugin, for detectors and annotators that need its arithmetic.
        read_labels: Reads any label file that an installed format reads, yielding (name, payload).
        truth: Item to true payload; only for annotators whose ``needs`` holds ``"truth"``.
        run: Name of the run: that of its folder.
        uris: Where the run's images are, in order, for an annotator that has to know whether people can reach them;
            empty until they are listed.
    """

    categories: tuple[str, ...] = ()
    workdir: Path = Path(".")
    seed: int = 0
    form: Form | None = None
    task: Task | None = None
    read_labels: LabelReader | None = None
    truth: Callable[[Item], Payload | None] | None = None
    price_per_answer: int = 0
    """Micro-dollars that the run pays for one answer."""
    run: str = ""
    uris: Callable[[], Iterable[str]] = tuple


class Plugin(ABC):
    """Base of all kinds.

    Class attributes:
        kind: Which hook yields it; set by the kind's base class.
        name: Slug by which it is chosen.
        summary: One line for listings, at most 72 characters.
        Options: Its options; ``-o kind.name.key=value`` and the TOML table ``[kinds.name]``.
        requires: Import names that it needs, checked without importing.
        extra: What to ``pip install`` for them.
        licence: SPDX identifier of the plugin with what it loads.
        api: Version of this module that it was written for.
        needs: Columns or capabilities it asks core for.
        gives: Columns or capabilities it offers.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    licence: ClassVar[str] = "Apache-2.0"
    api: ClassVar[int] = API
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, options: Any, context: Context) -> None:
        self.options = options
        self.context = context


# ---------------------------------------------------------------------------------------------- task


class Simulated(NamedTuple):
    """What a synthetic worker answers."""

    outcome: Outcome
    payload: Payload | None
    seconds: float


class Consolidated(NamedTuple):
    """Many answers made one: ``payload`` None where the answers support no label."""

    payload: Payload | None
    confidence: float
    agreement: float


class Hint(NamedTuple):
    """What core knows of an item besides its answers.

    ``gold``: the label that is known to be right, where the item tests workers (``people.gold``). ``raw``: what
    a model predicts that never saw the item's label; None for every item that validates or may do so, and where there
    is no model yet. ``model``: which kind of model that is; what was learnt of one says nothing of another.
    """

    gold: Payload | None = None
    raw: Raw | None = None
    model: str = ""


class Task(Plugin):
    """Everything about a label: its form, its arithmetic, its synthetic people.

    Payloads and raw predictions are JSON objects (``gtloop.labels`` has the built-in shapes).
    """

    kind = "task"
    metric: ClassVar[str]
    """Name of the quality in [0, 1] that the promise is about, for example ``mean IoU``."""
    default_target: ClassVar[float]
    binary: ClassVar[bool] = False
    """True where the quality of an item is 0 or 1."""
    feature_names: ClassVar[tuple[str, ...]]
    """Names of what ``features`` returns; ``n_objects`` is always among them."""
    consolidation: ClassVar[str]
    """Version of ``consolidate``, for example ``bbox-posterior-2``."""

    @abstractmethod
    def form(self) -> Form:
        """The form that shows one image of this task to a person."""

    @abstractmethod
    def parse(self, payload: Payload, item: Item) -> Payload:
        """Check an answer or truth and return it canonical.

        Raises:
            BadAnswer: It does not fit: an undeclared category, a box outside the image, ...
        """

    @abstractmethod
    def consolidate(self, answers: Sequence[Answer], skills: Mapping[str, Any]) -> Consolidated:
        """Make one label of one item's answers; pure, and independent of their order.

        ``answers`` holds outcomes ``label``, ``empty`` and ``cannot_tell``; declined ones never come.
        """

    def assist(self, answers: Sequence[Answer], skills: Mapping[str, Any], raw: Raw) -> Consolidated:
        """``consolidate`` with a model as one more voter; core asks it for training items only.

        ``raw`` is the prediction of a model that never saw the item's label (CROWDLAB, arXiv 2210.06812).
        """
        return self.consolidate(answers, skills)

    def sure(self, answers: Sequence[Answer], skills: Mapping[str, Any], hint: Hint, more: int) -> float:
        """How sure it is, in [0, 1], that ``more`` answers would not better the label: ``people.sure`` ends the asking.

        1 less the quality that they are expected to add, by default 1 less what the label lacks: its confidence. Pure,
        and independent of the order of answers; core asks it for training items only.

        Args:
            answers: Of one item, as for ``consolidate``.
            skills: What is known of the workers so far.
            hint: ``raw`` where a model may vote (``assist``).
            more: How many could still be asked for, 1 or more.
        """
        made = self.consolidate(answers, skills) if hint.raw is None else self.assist(answers, skills, hint.raw)
        return 0.0 if made.payload is None else made.confidence

    def clip(self, payload: Payload, item: Item) -> Payload:
        """A label that was made of answers, without what lies outside its image."""
        return payload

    def skills(
        self, answers: Sequence[Sequence[Answer]], previous: Mapping[str, Any], hints: Sequence[Hint] = ()
    ) -> dict[str, Any]:
        """Sufficient statistics of the workers (JSON), from the answers of newly closed items.

        Args:
            answers: Of each item, as for ``consolidate``.
            previous: What this returned for the items before.
            hints: One for each item, or none at all.
        """
        return dict(previous)

    def skill(self, skills: Mapping[str, Any]) -> dict[str, float]:
        """Worker to how good their work is, in [0, 1], for the report on workers; empty: not known."""
        return {}

    @abstractmethod
    def worker(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a synthetic worker's persona (JSON); ``statistics.md`` section 5.4."""

    @abstractmethod
    def simulate(self, truth: Payload, worker: Mapping[str, Any], item: Item, rng: np.random.Generator) -> Simulated:
        """What that worker would answer about an image whose true label is ``truth``."""

    @abstractmethod
    def error(self, a: Payload, b: Payload) -> float:
        """How far two labels are apart, in [0, 1]; 0 for equal, symmetric. Quality is 1 - error."""

    @abstractmethod
    def features(self, raw: Raw, cut: float) -> NDArray[np.float32]:
        """(len(feature_names),) numbers about a raw prediction, for scores and samplers."""

    @abstractmethod
    def label(self, raw: Raw, cut: float) -> Payload:
        """The label that a raw prediction makes; ``cut`` is the least confidence of an object."""

    @abstractmethod
    def raw(self, payload: Payload) -> Raw:
        """The raw prediction that a label (with confidences, where it has some) stands for."""

    def slice(self, raw: Raw, cut: float) -> str:
        """Name of the stratum with its own threshold, from the prediction only."""
        return "all"

    def count(self, payload: Payload) -> int:
        """Number of objects in a label."""
        return 1

    def empty(self) -> Payload | None:
        """The label of an image that holds nothing; None where there is no such thing."""
        return None

    def reframe(self, payload: Payload, item: Item, to: Frame) -> Payload:
        """Move a payload between the displayed and the stored (pre-EXIF) frame of its image."""
        return payload

    def recategorize(self, payload: Payload, names: Mapping[str, str]) -> Payload:
        """A payload with its categories renamed or merged: every string under a key ``category``."""
        return cast(Payload, _renamed(payload, names))

    def evaluate(self, pairs: Iterable[tuple[Payload, Payload]]) -> dict[str, float]:
        """Figures of merit of (label, truth) pairs; always holds ``mean`` of the promise's metric."""
        q = [1.0 - self.error(a, b) for a, b in pairs]
        return {"mean": sum(q) / len(q) if q else float("nan"), "count": float(len(q))}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            k: names.get(v, v) if k == "category" and isinstance(v, str) else _renamed(v, names)
            for k, v in value.items()
        }
    return [_renamed(v, names) for v in value] if isinstance(value, list | tuple) else value


# ----------------------------------------------------------------------------------------- annotator


class Collected(NamedTuple):
    """What ``collect`` brings; ``cursor`` is opaque and says where the next call goes on."""

    answers: list[Answer]
    closed: list[Closed]
    cursor: str


class Quote(NamedTuple):
    """What one answer costs at an annotator, micro-dollars: to the worker, and to the platform on top."""

    answer: int
    fee: int = 0


class Annotator(Plugin):
    """Delivers forms to people and returns their answers. It never sees why an item is asked.

    State lives in ``context.workdir`` or with the service, never in the object: a new process with a
    new object goes on where the last one was. What it can do besides is named in ``gives``: ``"settle"``,
    ``"block"``, ``"serve"``, ``"forget"``, each with the method of that name; ``"serve-many"``: several processes may
    ``serve`` a run at once whose ledger is in a server.
    """

    kind = "annotator"
    spends_money: ClassVar[bool] = False
    forms: ClassVar[frozenset[str]] = frozenset({"*"})
    """Primitive kinds that it can show; ``{"*"}`` for all."""
    modes: ClassVar[frozenset[str]] = frozenset({"draw"})
    """Modes of requests that it can show: ``draw``, ``verify``, ``adjust``."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings that suit it, by dotted key, such as ``{"run.workers": 1}``: what the user says comes before them."""
    patient: ClassVar[bool] = False
    """True where answers come from outside this process, so that a run may have to wait for them."""

    @abstractmethod
    def submit(self, requests: Sequence[Request]) -> None:
        """Make it so: idempotent by request id. A higher ``answers`` extends the task; equal is a no-op."""

    @abstractmethod
    def collect(self, cursor: str, limit_s: float) -> Collected:
        """Answers and closures since ``cursor`` (``""`` at first), after at most ``limit_s`` seconds.

        May repeat what it has returned before; never loses anything.
        """

    def rest(self) -> None:
        """Wait for what is still under way beside ``collect``, such as a look in a thread or an upload.

        Asked before a process ends that leaves people to their work: what it would cut off might never get further.
        """

    def check(self, cost: int) -> None:
        """Look whether people can be reached, and paid ``cost`` micro-dollars; asked before anything is reserved.

        Raises:
            Unreachable: The service can't be reached.
            GtloopError: Something else is lacking; one line that says what to do.
        """

    def quote(self, price: int, answers: int) -> Quote:
        """What one of ``answers`` answers to a request costs here, where the run is to pay ``price`` for one.

        Anything but that is a price of its own: answers cost what it says of each. Else the run's prices for objects,
        time and fees come on top (docs/prices.md).
        """
        return Quote(price)

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Withdraw requests; each is closed by a later ``collect``."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Pay, reject or reward answers; idempotent. Asked where ``gives`` holds ``"settle"``, for every answer."""
        raise NotImplementedError(f"annotator {self.name!r} settles nothing")

    def block(self, workers: Mapping[str, str]) -> None:
        """Give these workers no more work: worker to reason; idempotent. Where ``gives`` holds ``"block"``."""
        raise NotImplementedError(f"annotator {self.name!r} can't keep anybody out")

    def forget(self, worker: str) -> bool:
        """Forget who is behind a worker's id; False where nobody is known by it. Where ``gives`` holds ``"forget"``.

        Answers stay; ids that ``collect`` returns must tell nothing about a person by themselves.
        """
        raise NotImplementedError(f"annotator {self.name!r} knows nobody by name")

    def serve(self, run: Run, *, host: str | None, port: int | None, ready: Callable[[str], None]) -> None:
        """Let people in until the process is interrupted (SIGINT or SIGTERM). Where ``gives`` holds ``"serve"``.

        Runs in a process of its own, beside the driver or without one; both share ``context.workdir``.

        Args:
            run: The run to read, for a dashboard; letters go through it as well.
            host: Address to listen at; None: the plugin's own choice, such as an option.
            port: As ``host``.
            ready: To be called once people can come, with text that says where; one line or more.
        """
        raise NotImplementedError(f"annotator {self.name!r} serves nothing")

    def where(self) -> str:
        """Where people find the work, one line, for the message of a waiting run."""
        return ""


# ------------------------------------------------------------------------------------------ detector


@dataclass(frozen=True)
class Example:
    """A training image: its item, its human label, and how to open it."""

    item: Item
    payload: Payload

    def open(self, least: tuple[int, int] | None = None) -> Image.Image:
        """The decoded image, RGB, in the display frame; ``least`` as for ``gtloop.images.open_image``.

        Raises:
            BadImage: It can't be read; it names it.
        """
        from gtloop.errors import BadImage
        from gtloop.images import open_image

        try:
            return open_image(self.item.uri, least=least)
        except BadImage as e:
            raise BadImage(f"{self.item.name}: {e}") from e


class Detector(Plugin):
    """Fits a model on labelled images and predicts. Also classifiers and segmenters.

    The executor owns decoding, batching, shards and resume. Nothing here ever sees validation labels.
    """

    kind = "detector"
    tasks: ClassVar[frozenset[str]]
    """Names of the tasks that it does."""
    trainable: ClassVar[bool] = True
    """False: nothing to fit, predictions do not depend on labels."""
    opens_images: ClassVar[bool] = True
    """False: ``prepare`` is called with image None."""
    batch_size: ClassVar[int] = 16

    def check(self, items: Iterable[Item]) -> None:
        """Look whether all that the work on ``items`` needs is there; asked once, before people are.

        Raises:
            GtloopError: It is not; one line that says what to do.
        """

    def fit(
        self,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        """Fit on ``examples`` and leave the model in ``workdir``; deterministic for a seed.

        Where ``gives`` holds ``"data-parallel"``, it may be called in several processes at once that are joined by
        torch.distributed's default group, with the same arguments but for ``workdir`` and ``progress``. Each computes
        its share of every batch, on its current device; the model of the process of rank 0 is kept.

        Args:
            examples: In row order; images without objects are among them.
            workdir: Empty folder; holds the whole model afterwards.
            seed: Of all randomness.
            init: Folder of a model of this detector to start from.
            effort: Share of the normal schedule; above 1 for folds of a cross-fit, which see fewer examples and
                are to take as many steps, within the same bounds.
            progress: Called as (``"fit"``, done, total).

        Returns:
            Figures worth logging, such as the final loss; the report draws curves (``gtloop.curves``).

        Raises:
            NotEnoughData: Too few examples to fit anything.
            BadImage: As ``Example.open`` has raised it; the fit is begun again without what can't be read.
        """
        raise NotImplementedError(f"detector {self.name!r} does not fit")

    @abstractmethod
    def load(self, workdir: Path | None) -> Any:
        """The model that ``fit`` left, ready to predict (None: a detector that is not trainable)."""

    def least_size(self, width: int, height: int) -> tuple[int, int] | None:
        """(width, height) from which on ``prepare`` needs no more of an image of that size; None: the whole image.

        All in display pixels. A JPEG is then decoded at a half, a quarter or an eighth, never below, which is several
        times faster; ``prepare`` has the whole image's size from the item.
        """
        return None

    @abstractmethod
    def prepare(self, image: Image.Image | None, item: Item) -> Any:
        """Turn one image (RGB, display frame) into a picklable input; CPU only, called in workers."""

    @abstractmethod
    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        """Raw predictions, one for each input, in order, in the display frame of the image."""

    def embedder(self) -> Any:
        """The network before any fit, ready for ``embed_batch``; asked where ``gives`` holds ``"embedding"``."""
        raise NotImplementedError(f"detector {self.name!r} gives no embeddings")

    def embed_batch(self, embedder: Any, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """(n, d) of prepared images, in order, the same d always: near in Euclid's sense means alike to look at."""
        raise NotImplementedError(f"detector {self.name!r} gives no embeddings")


# ------------------------------------------------------------------------------ sampler, score


@dataclass(frozen=True)
class PoolView:
    """What a sampler sees: candidates as columns. Which rows are validation is not among them.

    Attributes:
        rows: (n,) int32, sorted.
        columns: Name to (n,) array: with predictions the task's features and ``score``; ``embedding`` is (n, d),
            there where the detector gives it and the sampler needs or uses it.
        labelled: Name to (m,) array of the training items that people have labelled; only ``embedding``, (m, d).
    """

    rows: Rows
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labelled: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def highest(self, values: NDArray[np.floating[Any]], n: int, rng: np.random.Generator) -> Rows:
        """The ``n`` rows with the highest of (n,) ``values``, best first; ties at random, NaN last."""
        import numpy as np

        order = rng.permutation(len(self.rows))
        key = np.asarray(values, np.float64)[order]
        return self.rows[order[np.argsort(-np.where(np.isnan(key), -np.inf, key), kind="stable")[:n]]]


class Pick(NamedTuple):
    """Ranked rows, best first, and one sentence why."""

    rows: Rows
    reason: str


class Sampler(Plugin):
    """Ranks candidates for people: ``needs`` names the columns it reads, core falls back to random."""

    kind = "sampler"
    uses: ClassVar[frozenset[str]] = frozenset()
    """Columns that it makes use of where they are there, and can do without."""

    @abstractmethod
    def select(self, view: PoolView, n: int, rng: np.random.Generator) -> Pick:
        """At most ``n`` distinct rows of the view, best first; the whole view where n is larger."""


class Score(Plugin):
    """Image confidence from prediction features; higher means more likely right."""

    kind = "score"
    learns: ClassVar[bool] = False
    """True where ``fit`` makes it better: a look then fits models on parts of the training labels for it."""

    def fit(self, columns: Mapping[str, NDArray[np.float32]], quality: NDArray[np.float64]) -> dict[str, Any]:
        """Learn from predictions of models that never saw the labels that judge them; deterministic.

        Args:
            columns: (n,) features of each.
            quality: (n,) 1 - error of each, in [0, 1].

        Returns:
            What was learnt (JSON), for ``fitted``; empty: nothing.
        """
        return {}

    def fitted(self, columns: Mapping[str, NDArray[np.float32]], learnt: Mapping[str, Any]) -> NDArray[np.float64]:
        """As ``score``, by what ``fit`` has learnt."""
        return self.score(columns)

    @abstractmethod
    def score(self, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        """(n,) values in [0, 1] from (n,) feature columns; monotone in trust, ties allowed."""


# -------------------------------------------------------------------------------------------- format


class Entry(NamedTuple):
    """One image of a label file: its name there, its payload, and the rest of what the file says.

    ``payload`` None: the file lists the image, but says nothing about it. ``source`` is who made the label, where the
    file says so; ``frame`` is that of the payload's coordinates.
    """

    name: str
    payload: Payload | None
    extras: dict[str, Any]
    source: Source | None = None
    frame: Frame = "display"


class ExportRow(NamedTuple):
    """One row of an export: its label, or the reason why there is none. Sizes are in the frame asked for."""

    item: Item
    label: Label | None
    width: int | None
    height: int | None
    status: str
    reason: str


class Format(Plugin):
    """Reads and/or writes label files. Boxes are absolute pixels of the frame that the caller names."""

    kind = "format"
    tasks: ClassVar[frozenset[str]]
    reads: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    """File suffix of an export, or empty where it is a folder."""

    def sniff(self, path: Path) -> bool:
        """Whether ``path`` looks like this format; cheap."""
        return False

    def near_miss(self, path: Path) -> str:
        """What keeps ``path`` from being of this format, where little does; asked where no format recognises it."""
        return ""

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the entries of a file or folder.

        Raises:
            BadLabels: With the file (and line) and what is wrong.
        """
        raise NotImplementedError

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write every row; returns one sentence for each thing that the format could not hold.

        ``info`` holds ``categories``, ``run``, ``frame`` and ``version``.
        """
        raise NotImplementedError


# ------------------------------------------------------------------------------------------ executor


class Predicted(NamedTuple):
    """Raw prediction of a row, or the reason why its image can't be read; stored (raw) size if decoded."""

    item: Item
    raw: Raw | None
    fault: str = ""


class Executor(Plugin):
    """Where fits and predictions run: decoding, batching, devices."""

    kind = "executor"

    def check(self, detector: Detector) -> None:
        """Look whether what it runs on is there, and whether it can run this detector; asked once, before people are.

        Raises:
            GtloopError: It is not, or can't; one line that says what to do.
        """

    @abstractmethod
    def fit(
        self,
        detector: Detector,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        """Run ``detector.fit`` wherever this executor runs things."""

    @abstractmethod
    def predict(
        self, detector: Detector, model: Path | None, items: Iterable[Item], progress: Progress = quiet
    ) -> Iterator[Predicted]:
        """Stream predictions in the order of ``items``, one for each; ``progress`` as ("predict", done, None)."""


# ------------------------------------------------------------------------------------------ observer


class Observer(Plugin):
    """Is told what happened, such as to tell others. Any number may be on: those that have a table in the settings.

    Constructing one starts nothing, as that is also how its options are checked. Events that were committed before
    this process drove the run are not told again. What is to outlive a process lies in ``context.workdir``, which may
    have to be made.
    """

    kind = "observer"

    @abstractmethod
    def observe(self, event: Event, state: State) -> None:
        """See an event after it is committed, with the state after it; be quick, and change neither.

        Events of types that it does not know may come. What it raises is logged and swallowed.
        """

    def close(self) -> None:
        """Finish what is under way, within seconds: the process that drives the run ends. May be called again."""


KINDS: dict[str, type[Plugin]] = {
    c.kind: c for c in (Task, Annotator, Detector, Sampler, Score, Format, Executor, Observer)
}
"""Every kind of plugin that is chosen by name, with its base class."""
