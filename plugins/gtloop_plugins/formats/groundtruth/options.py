"""Options of ``groundtruth``, and the names that SageMaker Ground Truth gives to things."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import Field

from gtloop.errors import ConfigError
from gtloop.interfaces import Options

METADATA = "-metadata"
REF = "-ref"
TYPES = {
    "bbox": "groundtruth/object-detection",
    "classification": "groundtruth/image-classification",
    "segmentation": "groundtruth/semantic-segmentation",
}
"""``type`` in the metadata of a label, by task."""
MULTILABEL = "groundtruth/image-classification-multilabel"
OWN = "gtloop"
"""Key of a line that holds what gtloop knows and the service has no place for."""
BACKGROUND, VOID = "BACKGROUND", "VOID"
VOID_INDEX = 255
_ATTRIBUTE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,126}")


class GroundTruthOptions(Options):
    """Options of ``groundtruth``."""

    attribute: str = Field(
        "",
        description="name of the label attribute; empty: written as label (label-ref for masks), read as the only one "
        "of the task's type",
    )
    source_ref: str = Field(
        "",
        description="where the images lie for who reads an export, such as s3://bucket/folder; empty: their own paths",
    )
    mask_ref: str = Field(
        "", description="the same for the masks of an export; empty: their paths, relative to the manifest"
    )
    masks: Path | None = Field(
        None, description="folder with the masks of a manifest that is read, where it names some that are not local"
    )
    integers: bool = Field(
        False, description="round the boxes of an export to whole pixels, which SageMaker's trainers ask for"
    )
    frame: Literal["stored", "display"] = Field(
        "stored",
        description="frame of what others wrote: stored is before EXIF, as in the service; gtloop's lines say theirs",
    )


def written_attribute(task: str, given: str) -> str:
    """The label attribute of an export.

    Raises:
        ConfigError: The service refuses such a name.
    """
    name = given or "label"
    if task == "segmentation" and not name.endswith(REF):
        name += REF
    option = f"formats.groundtruth.attribute={given}"
    if not _ATTRIBUTE.fullmatch(name) or name.endswith(METADATA) or name in ("source", "source-ref", OWN):
        raise ConfigError(
            f"{option}: the service takes letters, digits and inner hyphens (127 at most), no name that ends with "
            f"{METADATA}, and neither source, source-ref nor {OWN}; choose another"
        )
    if task != "segmentation" and name.endswith(REF):
        raise ConfigError(f"{option}: only the labels of segmentation end with {REF}; choose another")
    return name


def real(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
