"""What can be chosen."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from gtloop.interfaces import Options
from pydantic import Field, field_validator, model_validator

API = "https://api.prolific.com"
APP = "https://app.prolific.com"
TOKEN = "PROLIFIC_TOKEN"
"""Name of the environment variable with the API token; the token itself is nowhere else."""

Category = Literal[
    "TOO_QUICKLY",
    "TOO_SLOWLY",
    "FAILED_INSTRUCTIONS",
    "INCOMP_LONGITUDINAL",
    "FAILED_CHECK",
    "LOW_EFFORT",
    "MALINGERING",
    "NO_CODE",
    "BAD_CODE",
    "NO_DATA",
    "UNSUPP_DEVICE",
    "OTHER",
]
Device = Literal["desktop", "tablet", "mobile"]
Label = Literal["annotation", "ai_annotation", "ai_evaluation", "ai_other", "decision_making_task", "other"]


class ProlificOptions(Options):
    public_url: str | None = Field(None, description="https address by which participants reach the page: needed")
    host: str = Field("127.0.0.1", description="address that the page listens at; 0.0.0.0: all of this machine")
    port: int = Field(8765, ge=1, le=65_535, description="its port")
    images: int = Field(20, ge=1, le=500, description="images that one participant gets in one submission, at most")
    seconds_per_image: float = Field(30, gt=0, le=3600, description="time that one image takes, for the estimate")
    least_hour: float = Field(
        8, gt=0, description="least pay for an hour, in the account's currency; Prolific's: 8 (6)"
    )
    currency: Literal["USD", "GBP"] = Field("USD", description="currency of the Prolific workspace")
    usd_rate: float = Field(1.0, gt=0, le=100, description="dollars that one unit of that currency costs")
    fee_share: float = Field(0.428, ge=0, le=2, description="Prolific's fee: .428 of rewards, academic .333")
    vat_share: float = Field(0.0, ge=0, le=1, description="VAT on that fee: .2 for researchers in the UK")
    confirm_usd: float | None = Field(None, gt=0, description="the most that all of it may cost, dollars: needed")
    leftovers_usd: float = Field(0, ge=0, description="dollars beyond what is reserved, for the last few images")
    title: str | None = Field(None, max_length=120, description="of the study; default: from the task")
    description: str | None = Field(None, max_length=5000, description="of the study; default: from the instructions")
    project: str | None = Field(None, pattern=r"^\w+$", description="id of the Prolific project for the studies")
    workspace: str | None = Field(None, pattern=r"^\w+$", description="id of the workspace, whose balance is checked")
    filters: tuple[dict[str, Any], ...] = Field((), description="who may take part, as in the API, in gtloop.toml")
    devices: tuple[Device, ...] = Field(("desktop",), min_length=1, description="on which participants work")
    label: Label = Field("annotation", description="Prolific's label of the kind of work")
    submissions_each: int = Field(3, ge=1, le=100, description="submissions that one participant may make to a study")
    rejection: Category = Field("FAILED_INSTRUCTIONS", description="Prolific's category of what is rejected")
    endpoint: str | None = Field(None, pattern=r"^https?://", description="address of the API, if not Prolific's")
    timeout_s: float = Field(15, gt=0, description="how long one API call may take")
    patience_s: float = Field(120, gt=0, description="how long a failing call is tried again before the run stops")
    poll_s: float = Field(15, ge=0, description="least time between two looks for submissions")

    @field_validator("devices", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("filters")
    @classmethod
    def _shaped(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        kinds = ("selected_values", "selected_range", "selected_filters")
        if wrong := [f for f in value if "filter_id" not in f or not any(k in f for k in kinds)]:
            raise ValueError(f"a filter has filter_id and one of {', '.join(kinds)}, unlike {wrong[0]}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.currency != "USD" and self.usd_rate == 1.0:
            raise ValueError(f"give usd_rate, the dollars that one {self.currency} costs: prices are in dollars")
        parts = urlsplit(self.public_url or "https://x")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("public_url: give scheme and host only, such as https://label.example.org")
        return self

    @property
    def address(self) -> str:
        """Where the API is."""
        return (self.endpoint or API).rstrip("/")

    def complete_url(self, code: str) -> str:
        """Where a participant hands in a code."""
        return f"{APP if self.endpoint is None else self.address}/submissions/complete?cc={code}"
