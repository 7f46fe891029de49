"""What can be chosen, and what follows from it: where HITs are posted, who may work, what an answer costs."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gtloop.interfaces import Options, Quote

CENT = 10_000
"""Micro-dollars in a cent."""
SURCHARGE_FROM = 10
"""Assignments of a HIT from which on Amazon takes 40 % instead of 20 %."""
PRODUCTION = "https://mturk-requester.us-east-1.amazonaws.com"
SANDBOX = "https://mturk-requester-sandbox.us-east-1.amazonaws.com"
PRESIGNED_HOURS = 7 * 24
"""How long S3 honours a signed URL at most."""
OUTLIVES = f"signed URLs of S3 end after {PRESIGNED_HOURS} hours: give lifetime_hours that are fewer"

_APPROVED_SHARE = "000000000000000000L0"
_APPROVED_HITS = "00000000000000000040"
_LOCALE = "00000000000000000071"
_MASTERS = {True: "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH", False: "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6"}
_GUARDED = "DiscoverPreviewAndAccept"
"""People who may not work do not even see the HIT."""

Comparator = Literal[
    "LessThan",
    "LessThanOrEqualTo",
    "GreaterThan",
    "GreaterThanOrEqualTo",
    "EqualTo",
    "NotEqualTo",
    "Exists",
    "DoesNotExist",
    "In",
    "NotIn",
]


class Requirement(Options):
    """A requirement of one's own, as in the API."""

    id: str = Field(pattern=r"^[A-Z0-9]{1,64}$", description="QualificationTypeId")
    comparator: Comparator = Field("Exists", description="how a worker's value is compared")
    values: tuple[int, ...] = Field((), max_length=15, description="with what")


class MturkOptions(Options):
    production: bool = Field(False, description="post for real money; otherwise in the sandbox, where nobody is paid")
    confirm_usd: float | None = Field(None, gt=0, description="production: the most that all of it may cost, dollars")
    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="address of the API, for another than Amazon's"
    )
    region: str = Field("us-east-1", description="AWS region; MTurk has this one only")
    profile: str | None = Field(None, description="AWS profile with the credentials; default: the environment's")
    title: str | None = Field(None, max_length=128, description="of the work in the market; default: from the task")
    description: str | None = Field(None, max_length=2000, description="in the market; default: from the instructions")
    keywords: str = Field("image, labelling, annotation", max_length=1000, description="by which people search")
    assignment_minutes: float = Field(30, ge=0.5, le=525_600, description="time that one worker has for one image")
    lifetime_hours: float = Field(72, ge=0.01, le=8760, description="how long a HIT is offered")
    auto_approve_days: float = Field(7, ge=0, le=30, description="after which Amazon pays what nobody judged")
    image_url: str | None = Field(
        None,
        description="how workers reach images: https://HOST/{name} (or {id}), or s3://BUCKET/PREFIX, signed; "
        "not needed where the images are at URLs already",
    )
    copies_url: str | None = Field(
        None, description="how they reach the files in the folder images of the annotator: https://HOST/{name}"
    )
    min_approval: int | None = Field(None, ge=0, le=100, description="least approval rate of a worker, per cent")
    min_approved_hits: int = Field(100, ge=0, description="approved HITs from which on an approval rate says anything")
    countries: tuple[str, ...] = Field((), max_length=30, description="where workers live, as ISO codes: US,CA")
    masters: bool = Field(False, description="Masters only; Amazon takes 5 % more")
    requirements: tuple[Requirement, ...] = Field(
        (), max_length=4, description="further qualifications, in gtloop.toml"
    )
    request_per_s: float = Field(5, gt=0, description="most API calls per second; fewer where Amazon throttles")
    timeout_s: float = Field(10, gt=0, description="how long one API call may take")
    patience_s: float = Field(120, gt=0, description="how long a failing call is tried again before the run stops")
    poll_s: float = Field(10, ge=0, description="least time between two looks for answers")

    @field_validator("countries", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("countries")
    @classmethod
    def _codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [c for c in value if len(c) != 2 or not c.isalpha() or not c.isupper()]:
            raise ValueError(f"a country is two capital letters, not {wrong[0]!r}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("image_url", "copies_url"):
            url: str | None = getattr(self, name)
            if url is None or (name == "image_url" and url.startswith("s3://")):
                continue
            if not url.startswith(("http://", "https://")) or not ("{name}" in url or "{id}" in url):
                raise ValueError(
                    f"{name} must be like https://HOST/{{name}}" + " or s3://BUCKET/PREFIX" * (name[0] == "i")
                )
        if self.uses_s3 and self.outlives_signed:
            raise ValueError(OUTLIVES)
        return self

    @property
    def outlives_signed(self) -> bool:
        """Whether somebody may still work on an image whose signed URL has ended."""
        return self.lifetime_hours + self.assignment_minutes / 60 > PRESIGNED_HOURS

    @property
    def uses_s3(self) -> bool:
        return bool(self.image_url and self.image_url.startswith("s3://"))

    @property
    def address(self) -> str:
        """Where the API is."""
        return self.endpoint or (PRODUCTION if self.production else SANDBOX)

    @property
    def market(self) -> str:
        """What can't change once something is posted."""
        return "production" if self.production else "an endpoint of one's own" if self.endpoint else "the sandbox"

    def qualifications(self, kept_out: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Who may work, as the API wants it; ``kept_out`` are qualifications that nobody may have."""
        found: list[dict[str, Any]] = []
        if self.min_approval is not None:
            found += [
                {
                    "QualificationTypeId": _APPROVED_SHARE,
                    "Comparator": "GreaterThanOrEqualTo",
                    "IntegerValues": [self.min_approval],
                },
                {
                    "QualificationTypeId": _APPROVED_HITS,
                    "Comparator": "GreaterThanOrEqualTo",
                    "IntegerValues": [self.min_approved_hits],
                },
            ]
        if self.countries:
            places = [{"Country": c} for c in self.countries]
            found.append({"QualificationTypeId": _LOCALE, "Comparator": "In", "LocaleValues": places})
        if self.masters:
            found.append({"QualificationTypeId": _MASTERS[self.production], "Comparator": "Exists"})
        for r in self.requirements:
            values = {"IntegerValues": list(r.values)} if r.values else {}
            found.append({"QualificationTypeId": r.id, "Comparator": r.comparator, **values})
        found += [{"QualificationTypeId": q, "Comparator": "DoesNotExist"} for q in kept_out]
        return [{**f, "ActionsGuarded": _GUARDED} for f in found]


def quote(price: int, assignments: int, masters: bool) -> Quote:
    """Reward and fee of one of ``assignments`` of a HIT, micro-dollars.

    The reward is whole cents, the price rounded up, at least one. The fee is 20 % of it, 20 points more from ten
    assignments on, 5 more for Masters, at least a cent; it is exact, so it may hold tenths of a cent.
    """
    reward = max(1, -(-price // CENT)) * CENT
    percent = 20 + 20 * (assignments >= SURCHARGE_FROM) + 5 * masters
    return Quote(reward, max(CENT, reward * percent // 100))


def affordable(price: int, assignments: int, masters: bool, most: int) -> Quote | None:
    """As ``quote``, with the reward lowered until all assignments cost at most ``most``; None: not even a cent does."""
    offer = quote(price, assignments, masters)
    while assignments * (offer.answer + offer.fee) > most:
        if offer.answer == CENT:
            return None
        offer = quote(offer.answer - CENT, assignments, masters)
    return offer
