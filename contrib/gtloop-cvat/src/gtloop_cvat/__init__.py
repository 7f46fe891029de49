"""CVAT: its XML as a label format, and its server as an annotator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    from gtloop.interfaces import Annotator, Format


@gtloop.hookimpl
def gtloop_formats() -> list[type[Format]]:
    from gtloop_cvat.xml import CvatXml

    return [CvatXml]


@gtloop.hookimpl
def gtloop_annotators() -> list[type[Annotator]]:
    from gtloop_cvat.annotator import Cvat

    return [Cvat]
