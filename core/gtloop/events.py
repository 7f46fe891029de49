"""What can happen in a run. The ledger holds these, in order, and the state is their fold.

Events are small: what concerns many rows is a Parquet file, written and synced before its event,
which carries the file's path, row count and hash. ``type`` and ``version`` are stable.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from gtloop.records import AuditedRegion, Certificate, Record

Phase = Literal["probe", "validation", "train", "active", "rest", "relabel", "review", "audit", "ahead"]
"""Why a batch was picked: the three random starts, the sampler's choice, all that is left, a person's wish (new labels,
or a look at those that there are), an audit of machine labels, or that people find work while a model trains."""


class FileRef(Record):
    """A Parquet file of the run folder."""

    path: str = Field(description="relative to the run folder")
    rows: int
    sha256: str


class Event(Record):
    """Base of all events; ``iteration`` counts the batches that people were given."""

    version: Literal[1] = 1
    iteration: int = 0
    once: ClassVar[tuple[str, ...]] = ()
    """Fields that make the event unique; the ledger refuses a second one."""

    def key(self) -> str | None:
        """Unique key in the ledger; None where repeats are fine."""
        if not self.once:
            return None
        return ":".join([str(getattr(self, "type", "")), *(str(getattr(self, f)) for f in self.once)])


class RunStarted(Event):
    """The frozen facts of a run: settings, sizes, the items and what they were listed from."""

    type: Literal["run-started"] = "run-started"
    once = ("type",)
    gtloop: str
    settings: dict[str, Any]
    plan: dict[str, Any]
    items: FileRef
    aliases: int = 0


class WarmStarted(Event):
    """A model of another run is where every fit starts from."""

    type: Literal["warm-started"] = "warm-started"
    once = ("type",)
    path: str = Field(description="folder of the copied model, relative to the run folder")
    sha256: str = Field(description="hash of its description")
    origin: str = Field(description="run or exported model that it comes from")
    detector: str


class LetterRefused(Event):
    """What somebody asked for can't be done."""

    type: Literal["letter-refused"] = "letter-refused"
    once = ("letter",)
    letter: int = Field(description="inbox row")
    asked: str = Field(description="kind of the letter")
    why: str


class SettingsChanged(Event):
    """Settings that may change during a run did: new values by dotted key."""

    type: Literal["settings-changed"] = "settings-changed"
    changes: dict[str, Any]
    letter: int = Field(0, description="inbox row that asked for it; 0: the command line or the file")


class PricesQuoted(Event):
    """What an answer costs at the annotator: what is paid to the worker, and its own fee."""

    type: Literal["prices-quoted"] = "prices-quoted"
    annotator: str
    answers: int = Field(description="answers to an item that the quote is for")
    answer: int = Field(description="micro-dollars to the worker")
    fee: int = Field(description="micro-dollars to the platform, on top")


class ItemsAdded(Event):
    """More images; they wait for the stage that is under way, then get a validation set of their own."""

    type: Literal["items-added"] = "items-added"
    once = ("letter",)
    letter: int = Field(description="inbox row that asked for it")
    source: str
    truth: str | None = Field(None, description="known labels of these images, for synthetic annotators")
    first: int = Field(description="row of the first new image")
    items: FileRef = Field(description="all items, old and new")


class LabelsImported(Event):
    """Human labels that were there already: training labels that cost nothing."""

    type: Literal["labels-imported"] = "labels-imported"
    once = ("number",)
    number: int
    letter: int = Field(0, description="inbox row that asked for it; 0: the run started with them")
    source: str
    labels: FileRef
    gold: bool = Field(False, description="whether they test people, too")
    left_out: dict[str, int] = Field({}, description="entries that were not taken, by reason")


class StageStarted(Event):
    """A new validation set, plan and look for all that is in the pool now; earlier validation items train."""

    type: Literal["stage-started"] = "stage-started"
    once = ("stage",)
    stage: int
    plan: dict[str, Any]
    why: str


class CategoriesChanged(Event):
    """Categories were renamed or merged, in every label, past and to come; models start anew."""

    type: Literal["categories-changed"] = "categories-changed"
    once = ("letter",)
    letter: int = Field(description="inbox row that asked for it")
    names: dict[str, str] = Field(description="old name to new")
    categories: tuple[str, ...] = Field(description="all of them, afterwards")
    merged: bool = Field(description="whether two became one: what was certified holds no more")


class RelabelAsked(Event):
    """A person wants items labelled again, by people; their labels are withdrawn."""

    type: Literal["relabel-asked"] = "relabel-asked"
    once = ("letter",)
    letter: int = Field(description="inbox row that asked for it")
    rows: FileRef
    why: str = ""


class ReviewAsked(Event):
    """A person wants labels looked at by people; they stay as they are until somebody says otherwise."""

    type: Literal["review-asked"] = "review-asked"
    once = ("letter",)
    letter: int = Field(description="inbox row that asked for it")
    rows: FileRef = Field(description="rows, and the mode in which each is shown")
    answers: int = Field(description="people who look at each")
    others: bool = Field(False, description="whether those who made a label are left out")
    why: str = ""


class ReviewConcluded(Event):
    """What people said of labels: kept, changed, wrong (people label the item anew) or unsure."""

    type: Literal["review-concluded"] = "review-concluded"
    once = ("number",)
    number: int
    labels: FileRef = Field(description="a verdict for each request, with the new label of what changed")


class AuditAsked(Event):
    """A person wants a random sample of the machine labels checked, blind, by people."""

    type: Literal["audit-asked"] = "audit-asked"
    once = ("letter",)
    letter: int = Field(description="inbox row that asked for it")
    n: int = Field(description="labels to check")
    why: str = ""


class AuditConcluded(Event):
    """What people answered about audited items, how near the machine's label comes to it, and what that shows."""

    type: Literal["audit-concluded"] = "audit-concluded"
    once = ("number",)
    number: int
    labels: FileRef = Field(description="quality of each machine label, with the people's label that takes its place")
    regions: tuple[AuditedRegion, ...] = Field(description="what all audits so far show")


class RegionDemoted(Event):
    """An audit shows that a region breaks the promise: what is left of its machine labels is withdrawn."""

    type: Literal["region-demoted"] = "region-demoted"
    once = ("look", "slice")
    look: int
    slice: str
    rows: FileRef = Field(description="rows that people label now")
    why: str


class PeopleAssessed(Event):
    """How much people have answered, and how well where the label is known; who gets no more work, and why."""

    type: Literal["people-assessed"] = "people-assessed"
    once = ("number",)
    number: int
    upto: int = Field(description="collections that are counted")
    people: FileRef = Field(description="answers, test answers and the sum of their quality, by worker")
    out: dict[str, str] = Field({}, description="worker to the reason why they get no more work")


class AnswersSettled(Event):
    """What the annotator was told to pay and to reject; what is rejected is not paid, and takes part in no label."""

    type: Literal["answers-settled"] = "answers-settled"
    once = ("number",)
    number: int
    upto: int = Field(description="collections that are settled")
    verdicts: FileRef


class ItemsQuarantined(Event):
    """Images that can't be read: rows with a reason; they leave the pool, and what has a label keeps it."""

    type: Literal["items-quarantined"] = "items-quarantined"
    file: FileRef
    example: str = Field("", description="name of the first, and why it can't be read")
    training: bool = Field(False, description="whether a fit leaves them out: people have labelled them")


class BatchCommitted(Event):
    """Requests that will be made, with their worst-case price reserved.

    ``moved`` names validation rows that the sampler reached: they go to training, symmetric with the
    pool rows that it reached.
    """

    type: Literal["batch-committed"] = "batch-committed"
    once = ("batch",)
    batch: int
    phase: Phase
    requests: FileRef
    reserved: int = Field(description="micro-dollars")
    moved: FileRef | None = None
    reason: str = ""


class BatchSubmitted(Event):
    """The annotator has the requests of a batch."""

    type: Literal["batch-submitted"] = "batch-submitted"
    once = ("batch", "handover", "extension")
    batch: int
    handover: int = Field(0, description="how often the run had changed its annotator")
    extension: int = Field(0, description="how often it had been seen which requests want more answers")


class AnswersExtended(Event):
    """What became of requests that had all answers they wanted: closed where these are sure enough, or ask one more."""

    type: Literal["answers-extended"] = "answers-extended"
    once = ("number",)
    number: int
    requests: FileRef = Field(
        description="request, how sure its answers are, how many it wants now, whether it is closed"
    )
    extended: int = Field(description="requests that ask for more")


class AnswersCollected(Event):
    """Answers and closures, as the annotator returned them up to ``cursor``."""

    type: Literal["answers-collected"] = "answers-collected"
    once = ("number",)
    number: int
    answers: FileRef | None
    closed: FileRef | None
    cursor: str


class LabelsConsolidated(Event):
    """Human labels of closed requests, and what is known of the workers after them."""

    type: Literal["labels-consolidated"] = "labels-consolidated"
    once = ("number",)
    number: int
    labels: FileRef
    skills: FileRef | None = None


class ConsistencyMeasured(Event):
    """How far two halves of the people agree on validation images: what machine labels can be measured to be."""

    type: Literal["consistency-measured"] = "consistency-measured"
    once = ("stage",)
    stage: int
    items: int = Field(description="validation images with at least two answers")
    halves: float | None = Field(description="mean quality between the labels of two halves of the people")
    error: float | None = Field(description="standard error of that")
    supported: float | None = Field(description="about what a perfect model would reach against labels of half of them")
    warning: str = Field("", description="that the target is above it")


class ModelFitted(Event):
    """A model; ``fold`` None for the one that labels, else the fold that it never saw."""

    type: Literal["model-fitted"] = "model-fitted"
    once = ("model",)
    model: str
    fold: int | None = None
    batch: int = Field(description="batches that had been consolidated when it was fitted")
    examples: int
    seconds: float
    metrics: dict[str, float] = {}
    path: str | None = None
    fault: str = Field("", description="why there is no model")
    deal: FileRef | None = Field(None, description="of the first fold: training rows, dealt to the folds in turn")
    folds: int = Field(0, description="of the first fold: number of folds that they are dealt to")
    crossed: bool = Field(True, description="of the first fold: whether these rows are random, and validate")


class ItemsPredicted(Event):
    """Predictions of a model, in shards below ``path``."""

    type: Literal["items-predicted"] = "items-predicted"
    once = ("path",)
    model: str
    path: str
    sample: bool = Field(False, description="of a random sample of the pool only: what a sampler chooses from")
    rows: int
    parts: int
    sha256: str
    seconds: float


class ItemsEmbedded(Event):
    """Embeddings of the items that had none, in shards below ``path``: what some samplers go by."""

    type: Literal["items-embedded"] = "items-embedded"
    once = ("path",)
    detector: str
    space: str = Field("", description="detector and options that the embeddings are of; others can't be compared")
    path: str
    upto: int = Field(description="rows below this one have an embedding, where their image can be read")
    rows: int
    parts: int
    seconds: float


class Alternative(Record):
    """One way to go on: a look after more labels."""

    labels: int = Field(description="labels of people before the look")
    share: float = Field(description="of the pool that is left then, what the look is expected to label")
    cost: int = Field(description="expected micro-dollars from here to the end; labels where people cost nothing")


class Considered(Event):
    """Which plan is expected to be the cheapest, by out-of-fold losses that certify nothing."""

    type: Literal["considered"] = "considered"
    once = ("turn",)
    turn: int = Field(description="batches that a model had been fitted on")
    examples: int
    loss: float = Field(description="mean out-of-fold loss of random training items")
    choice: Literal["look", "train"]
    plans: tuple[Alternative, ...]
    thinned: FileRef | None = Field(None, description="random training rows that the sampler would have taken by now")
    why: str


class Looked(Event):
    """A look: what was tested at which price in delta, and the machine labels that it made final."""

    type: Literal["looked"] = "looked"
    once = ("look",)
    look: int
    model: str | None
    delta: float = Field(description="error probability spent")
    certificates: tuple[Certificate, ...]
    labels: FileRef | None
    retired: FileRef | None = Field(None, description="validation rows of the accepted region, now training")
    cut: float | None = Field(None, description="least confidence of an object in these labels")
    fitted: FileRef | None = Field(None, description="what a score that learns had learnt")
    drift: float | None = Field(None, description="p-value of equal scores in validation and pool")
    why: str
    seconds: float = 0.0


class BudgetReached(Event):
    """Nothing more can be paid: the run may still look once, then stops."""

    type: Literal["budget-reached"] = "budget-reached"
    needed: int
    left: int


class RunPaused(Event):
    """The run stopped before it was done.

    ``budget`` is used up, a person owes it a ``confirm``, it was ``asked`` to, or an annotator ``overcharged``.
    """

    type: Literal["run-paused"] = "run-paused"
    reason: Literal["budget", "confirm", "asked", "overcharged"]
    why: str
    letter: int = Field(0, description="inbox row that asked for it; 0: nobody")


class RunResumed(Event):
    """Somebody ran it again after it was asked to pause."""

    type: Literal["run-resumed"] = "run-resumed"


class RunCancelled(Event):
    """People are asked no more; what they have answered counts, and the run ends."""

    type: Literal["run-cancelled"] = "run-cancelled"
    once = ("type",)
    letter: int = Field(description="inbox row that asked for it")
    why: str = ""


class RequestsWithdrawn(Event):
    """The annotator was told to withdraw open requests: all of a cancelled run, or tests that nobody needs any more."""

    type: Literal["requests-withdrawn"] = "requests-withdrawn"
    once = ("type", "number")
    number: int = Field(1, description="how often it was told so")
    requests: int


class Confirmed(Event):
    """A person said yes to spending after the probe."""

    type: Literal["confirmed"] = "confirmed"


class RunFinished(Event):
    """Every item has a label or a reason why not."""

    type: Literal["run-finished"] = "run-finished"
    once = ("number",)
    number: int = Field(1, description="how often it was finished, as more may be asked of it afterwards")


AnyEvent = Annotated[
    RunStarted
    | WarmStarted
    | LetterRefused
    | SettingsChanged
    | PricesQuoted
    | ItemsAdded
    | LabelsImported
    | StageStarted
    | CategoriesChanged
    | RelabelAsked
    | ReviewAsked
    | ReviewConcluded
    | AuditAsked
    | AuditConcluded
    | RegionDemoted
    | PeopleAssessed
    | AnswersSettled
    | ItemsQuarantined
    | BatchCommitted
    | BatchSubmitted
    | AnswersExtended
    | AnswersCollected
    | LabelsConsolidated
    | ConsistencyMeasured
    | ModelFitted
    | ItemsPredicted
    | ItemsEmbedded
    | Considered
    | Looked
    | BudgetReached
    | RunPaused
    | RunResumed
    | Confirmed
    | RunCancelled
    | RequestsWithdrawn
    | RunFinished,
    Field(discriminator="type"),
]

_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(body: str | bytes) -> AnyEvent:
    """Read an event from its JSON."""
    return _ADAPTER.validate_json(body)
