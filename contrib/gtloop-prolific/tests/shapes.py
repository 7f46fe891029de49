"""What Prolific's API takes, after its published OpenAPI description (September 2026); anything else is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ManuallyReview(Strict):
    action: Literal["MANUALLY_REVIEW", "AUTOMATICALLY_APPROVE"]


class RequestReturn(Strict):
    action: Literal["REQUEST_RETURN"]
    return_reason: str


class CompletionCode(Strict):
    code: str
    code_type: Literal[
        "COMPLETED", "FAILED_ATTENTION_CHECK", "FOLLOW_UP_STUDY", "GIVE_BONUS", "INCOMPATIBLE_DEVICE", "NO_CONSENT",
        "OTHER", "FIXED_SCREENOUT", "SCREENED_IN", "SCREENED_OUT",
    ]  # fmt: skip
    actions: list[Annotated[ManuallyReview | RequestReturn, Field(discriminator="action")]]
    actor: Literal["participant", "researcher"] = "participant"


class SelectFilter(Strict):
    filter_id: str
    selected_values: list[str]


class SubmissionsConfig(Strict):
    max_submissions_per_participant: int = 1
    max_concurrent_submissions: int = -1


class CreateStudy(Strict):
    name: str
    internal_name: str | None = None
    description: str
    external_study_url: str
    prolific_id_option: Literal["question", "url_parameters", "not_required"]
    completion_codes: list[CompletionCode] = Field(min_length=1)
    total_available_places: int = Field(ge=1)
    estimated_completion_time: int = Field(ge=1)
    maximum_allowed_time: int | None = None
    reward: int = Field(ge=1)
    device_compatibility: list[Literal["desktop", "tablet", "mobile"]] = []
    peripheral_requirements: list[Literal["audio", "camera", "download", "microphone"]] = []
    filters: list[SelectFilter] = []
    project: str | None = None
    submissions_config: SubmissionsConfig = SubmissionsConfig()
    study_labels: list[str] = []


class UpdateStudy(Strict):
    """What may change once a study is published."""

    internal_name: str | None = None
    total_available_places: int | None = None


class StudyTransition(Strict):
    action: Literal["PUBLISH", "PAUSE", "START", "STOP"]


class SubmissionTransition(Strict):
    action: Literal["APPROVE", "REJECT", "COMPLETE", "RETURN", "SCREEN_OUT"]
    message: str | None = None
    rejection_category: (
        Literal[
            "TOO_QUICKLY", "TOO_SLOWLY", "FAILED_INSTRUCTIONS", "INCOMP_LONGITUDINAL", "FAILED_CHECK", "LOW_EFFORT",
            "MALINGERING", "NO_CODE", "BAD_CODE", "NO_DATA", "UNSUPP_DEVICE", "OTHER",
        ]
        | None
    ) = None  # fmt: skip


class ReturnRequest(Strict):
    request_return_reasons: list[str] = Field(min_length=1)


class BonusPayments(Strict):
    study_id: str
    csv_bonuses: str


class StudyCost(Strict):
    reward: float
    total_available_places: float


def error(status: int, detail: Any) -> dict[str, Any]:
    """An error as Prolific words it."""
    return {"error": {"status": status, "error_code": 140000 + status, "title": "Error", "detail": detail}}
