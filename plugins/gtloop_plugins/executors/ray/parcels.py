"""What travels to another machine: a detector, and the folder of a model."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from gtloop.errors import PluginFault
from gtloop.interfaces import Detector


def pack(folder: Path | None) -> bytes | None:
    """The files of a folder as an uncompressed tar; None for no folder. The same files give the same bytes."""
    if folder is None:
        return None
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)
    return out.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Write what ``pack`` read."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data")


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def dumps(detector: Detector) -> bytes:
    """A detector as bytes.

    Raises:
        PluginFault: It holds something that no other process can be given, such as an open file.
    """
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(detector))
    except Exception as e:
        raise PluginFault(
            f"detector {detector.name!r} can't be sent to Ray's workers ({type(e).__name__}: {e}); use --executor local"
        ) from e


def loads(data: bytes, name: str) -> Any:
    """What ``dumps`` wrote, in a worker.

    Raises:
        PluginFault: This machine lacks what it is made of.
    """
    from ray import cloudpickle

    try:
        return cloudpickle.loads(data)
    except Exception as e:
        raise PluginFault(
            f"detector {name!r} can't be made in a Ray worker ({type(e).__name__}: {e}); "
            "install gtloop and the detector's packages on every machine of the cluster"
        ) from e
