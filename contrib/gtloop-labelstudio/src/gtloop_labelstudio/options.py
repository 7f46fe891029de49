"""What can be chosen about the server, the project, and how people reach the images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gtloop.interfaces import Options
from pydantic import Field, field_validator


class LabelStudioOptions(Options):
    url: str = Field(
        "http://localhost:8080",
        description="address of the server, as this machine and the annotators' browsers know it",
    )
    token_env: str = Field(
        "LABEL_STUDIO_API_KEY",
        pattern=r"^\w+$",
        description="environment variable that holds an access token: a personal one, or a legacy one",
    )
    title: str | None = Field(None, min_length=3, max_length=50, description="of the project; default: gtloop RUN")
    skipped: Literal["cannot_tell", "declined"] = Field(
        "cannot_tell",
        description="what Skip means: nobody could tell, which is an answer, or that somebody else is to be asked",
    )
    image_url: str | None = Field(
        None, description="how browsers reach images: https://HOST/{name} (or {id}); default: web addresses as they "
        "are, everything else is uploaded",
    )  # fmt: skip
    local_root: Path | None = Field(
        None, description="LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT of the server: images below it are served from there"
    )
    chunk: int = Field(100, ge=1, le=1000, description="tasks of one import")
    timeout_s: float = Field(60, gt=0, description="how long one call may take")
    patience_s: float = Field(120, gt=0, description="how long a failing call is tried again before the run stops")
    poll_s: float = Field(5, ge=0, description="least time between two looks for answers")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it is like https://HOST or http://HOST:8080")
        if "@" in parts.netloc:
            raise ValueError("no user or password belongs into it; the access token is read from the environment")
        return value.rstrip("/")

    @field_validator("image_url")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None and not (
            value.startswith(("http://", "https://")) and ("{name}" in value or "{id}" in value)
        ):
            raise ValueError("it is like https://HOST/{name} or https://HOST/{id}")
        return value

    @field_validator("local_root")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("it is an absolute path, as the server has it")
        return value

    @property
    def prefix(self) -> str:
        """Path of the address, before ``/data`` and ``/api``; empty as a rule."""
        return urlsplit(self.url).path
