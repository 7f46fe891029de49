"""What can be chosen of annotator ``cvat``."""

from __future__ import annotations

from typing import Any

from gtloop.interfaces import Options
from pydantic import Field, field_validator

TOKEN, USER, PASSWORD = "CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"
"""Environment variables with the credentials: a token, or name and password; they are nowhere else."""


class CvatOptions(Options):
    url: str = Field("http://localhost:8080", pattern=r"^https?://", description="address of the CVAT server")
    organization: str | None = Field(None, description="slug of the organization that the tasks belong to")
    assignees: tuple[str, ...] = Field((), description="user names that jobs are assigned to; none: nobody")
    frames: int = Field(50, ge=1, le=1000, description="images of a task, and so of its one job, at most")
    image_url: str | None = Field(
        None, pattern=r"^https?://.*\{(name|id)\}", description="where the server fetches images: https://HOST/{name}"
    )
    image_quality: int = Field(90, ge=1, le=100, description="per cent, of the pictures that CVAT shows")
    cannot_tell: str = Field("cannot tell", min_length=1, description="name of the tag by which people say so")
    timeout_s: float = Field(60, gt=0, description="how long one API call may take")
    patience_s: float = Field(300, gt=0, description="how long a failing server is asked again before the run stops")
    poll_s: float = Field(15, ge=0, description="least time between two looks for finished jobs")

    @field_validator("assignees", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
