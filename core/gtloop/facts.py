"""What a run knows besides its columns: small maps and numbers, kept with the state."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gtloop import events as ev
from gtloop.events import FileRef
from gtloop.money import Bill
from gtloop.records import AuditedRegion, Certificate


class Facts(BaseModel):
    """What a run knows besides its columns; all of it small."""

    model_config = ConfigDict(extra="forbid")

    class Open(BaseModel):
        """A request that may still bring answers."""

        row: int
        batch: int
        want: int
        got: int = 0
        reserved: int
        most: int = 0  # answers that it may come to want (``people.first_answers``); 0: no more than now
        fixed: bool = True  # it comes to that, whatever people say
        full: bool = False  # has what it wants; whether that is enough is to be seen
        before: int = 0  # answers by people of another annotator
        aside: Literal["", "gold", "review", "audit"] = ""  # what changes neither status nor role of its item

        def outlives(self, delivered: int, reason: str) -> bool:
            """Whether a closure is of the time before more answers were wanted, or is known."""
            early = self.most > 0 and reason == "complete" and delivered < self.want - self.before
            return self.full or early

        @property
        def whole(self) -> int:
            """Answers that it may come to have."""
            return max(self.want, self.most)

        @property
        def due(self) -> int:
            """Answers that it may still bring: what its reservation has to pay."""
            return max(0, self.whole - self.got)

    class Batch(BaseModel):
        phase: ev.Phase
        requests: FileRef
        answers_from: int
        count: int
        validation: bool
        submitted: bool = False
        grown: bool = False  # the annotator is to be told that requests want more answers

        @property
        def waiting(self) -> bool:
            """Whether there is something to hand to the annotator."""
            return self.grown or not self.submitted

    class Model(BaseModel):
        name: str
        batch: int
        path: str | None
        examples: int
        fold: int | None = None
        predicted: str | None = None
        sampled: str | None = None  # predictions of a sample of the pool, where there are not those of all of it
        fault: str = ""
        deal: FileRef | None = None
        folds: int = 0
        crossed: bool = True

        @property
        def chosen_from(self) -> str | None:
            """Predictions of what a sampler chooses from."""
            return self.predicted or self.sampled

    class Round(BaseModel):
        """One iteration, for status and report; costs in micro-dollars."""

        model_config = ConfigDict(extra="forbid")  # a snapshot of an older layout does not fit

        threshold: float | None = None
        certified: float | None = None
        coverage: float | None = None
        human_cost: int = 0
        machine_cost: int = 0
        seconds: dict[str, float] = Field(default_factory=dict)

        @property
        def cost(self) -> int:
            return self.human_cost + self.machine_cost

    class Embedded(BaseModel):
        """Folders of embeddings of one detector, and the row up to which items have one."""

        rows: int = 0
        paths: list[str] = Field(default_factory=list)

    class Stage(BaseModel):
        """A validation set, plan and look of their own; ``batches`` and ``looks`` were there before it."""

        number: int = 1
        batches: int = 0
        looks: int = 0

    class Person(BaseModel):
        """One worker: answers, test answers with the sum of their quality, why they get no more work."""

        answers: int = 0
        gold: int = 0
        quality: float = 0.0
        out: str = ""

    class Tally(BaseModel):
        """Closed requests, and how many answers they had."""

        requests: int = 0
        answers: int = 0
        due: int = 0  # answers that were to come at most, for items that never got one too, and how many of these did
        came: int = 0

    class Blind(BaseModel):
        """Answers to blind random items, what they cost (micro-dollars), and active seconds of those with a time."""

        answers: int = 0
        cost: int = 0
        timed: int = 0
        seconds: float = 0.0

    class Worked(BaseModel):
        """Answers with a known time: their active seconds and price (micro-dollars); and how many answers have none."""

        timed: int = 0
        seconds: float = 0.0
        paid: int = 0
        untimed: int = 0

    class Review(BaseModel):
        """A wish to have labels looked at: rows with modes, and how many people look."""

        rows: FileRef
        answers: int
        others: bool

    class Reviewed(BaseModel):
        """What reviews of one mode brought; ``distance``: sum of the errors between label and answer."""

        requests: int = 0
        kept: int = 0
        changed: int = 0
        wrong: int = 0
        unsure: int = 0
        distance: float = 0.0
        seconds: float = 0.0
        answers: int = 0
        shown: bool = True  # False: what people drew from nothing

    settings: dict[str, Any] = Field(default_factory=dict)
    typed: dict[str, Any] = Field(default_factory=dict)  # settings without what letters changed
    plan: dict[str, Any] = Field(default_factory=dict)
    items: FileRef | None = None
    truths: list[tuple[int, str]] = Field(default_factory=list)  # first row, known labels from there on
    stage: Stage = Field(default_factory=Stage)
    warm: str | None = None  # folder that every fit starts from
    warm_sha256: str = ""
    warm_detector: str = ""
    renamed: dict[str, str] = Field(default_factory=dict)  # every name that a category ever had, to that of now
    imports: int = 0
    bill: Bill = Field(default_factory=Bill)
    quote: tuple[int, int] | None = None  # of the annotator, for an answer: to the worker, and its fee
    rounds: dict[int, Round] = Field(default_factory=dict)
    batches: dict[int, Batch] = Field(default_factory=dict)
    open: dict[str, Open] = Field(default_factory=dict)
    ripe: dict[str, int] = Field(default_factory=dict)
    tested: dict[str, int] = Field(default_factory=dict)  # closed requests of test images, till skills are learnt
    judged: dict[str, int] = Field(default_factory=dict)  # closed requests of a review, till it is concluded
    gold: FileRef | None = None
    people: dict[str, Person] = Field(default_factory=dict)
    assessed: int = 0  # collections that people are judged by
    assessments: int = 0
    settled: int = 0  # collections that are settled
    settlements: int = 0
    rejected: set[str] = Field(default_factory=set)  # answers
    reviews: list[Review] = Field(default_factory=list)  # not asked yet
    reviewed: dict[str, Reviewed] = Field(default_factory=dict)  # by mode
    conclusions: int = 0
    audits_asked: list[int] = Field(default_factory=list)  # how many labels each wish wants checked; not asked yet
    checked: dict[str, int] = Field(default_factory=dict)  # closed requests of an audit, till it is concluded
    audits: int = 0
    audit_files: list[FileRef] = Field(default_factory=list)
    audited: tuple[AuditedRegion, ...] = ()
    demoted: dict[str, str] = Field(default_factory=dict)  # "LOOK:SLICE" to the reason
    answer_files: list[FileRef] = Field(default_factory=list)
    cursor: str = ""
    handovers: int = 0  # changes of the annotator
    extensions: int = 0  # how often it was seen which requests want more answers
    asked: dict[str, Tally] = Field(default_factory=dict)  # fixed or adaptive, to what was closed
    proposed: dict[str, Reviewed] = Field(default_factory=dict)  # by mode: what became of labels of the model
    collections: int = 0
    annotations: int = 0
    worked: Worked = Field(default_factory=Worked)
    blind: Blind = Field(default_factory=Blind)
    told_overcharged: int = 0  # micro-dollars for which it has paused
    consolidations: int = 0
    human_files: list[FileRef] = Field(default_factory=list)
    machine_files: list[FileRef] = Field(default_factory=list)
    reasons: list[FileRef] = Field(default_factory=list)
    skills: FileRef | None = None
    model: Model | None = None
    folds: dict[int, Model] = Field(default_factory=dict)
    embedded: dict[str, Embedded] = Field(default_factory=dict)  # by space (``predictions.embedding_space``)
    generation: int = 0  # models of an earlier one are of no use any more
    deliverable: str | None = None  # folder of the latest model that labels
    consistent_in: int = 0  # stage in which it was measured how far people agree
    consistency: ev.ConsistencyMeasured | None = None
    curve: list[tuple[int, float]] = Field(default_factory=list)  # examples and out-of-fold loss, a round each
    considered: ev.Considered | None = None
    looks: int = 0
    looked_at: str | None = None
    cut: float | None = None  # of the latest look
    fitted: FileRef | None = None  # what the score had learnt by then
    drift: float | None = None  # p-value of equal scores in validation and pool at the latest look
    certificates: list[Certificate] = Field(default_factory=list)
    why: str = ""
    delta_spent: float = 0.0
    broke: bool = False
    confirmed: bool = False
    paused: str = ""
    cancelled: bool = False
    withdrawn: bool = False
    withdrawals: int = 0
    finished: bool = False
    finishes: int = 0
    unproven: int = 0  # machine labels of iterations up to this one came without evidence
    voided: str = ""  # why what was certified holds no more
    letter: int = 0
