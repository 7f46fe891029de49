"""Where the images of a job are: in its bucket still, or in folders here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

from gtloop.errors import SourceError, UsageError
from gtloop.inventory import Items
from gtloop.listing import Listed
from gtloop.urls import address, local_path, place, shown
from gtloop.wording import counted
from gtloop_plugins.formats.groundtruth.jobs.folder import Object


class Images:
    """Maps what a manifest calls an image to where it is read from.

    Args:
        given: ``FOLDER``, or ``PREFIX=FOLDER`` for what lies below ``PREFIX``, such as ``s3://bucket/photos``; without
            any, images are read from where the manifest says.
        base: Folder of the manifest, for relative paths.

    Raises:
        UsageError: A folder is not there.
    """

    def __init__(self, given: Sequence[str], base: Path) -> None:
        pairs = (text.rpartition("=") if "=" in text and not Path(text).exists() else ("", "", text) for text in given)
        self._folders = [(prefix.rstrip("/"), Path(folder).expanduser().resolve()) for prefix, _, folder in pairs]
        self._base = base
        for _, folder in self._folders:
            if not folder.is_dir():
                raise UsageError(f"--images {folder}: there is no such folder; give FOLDER, or s3://BUCKET/PATH=FOLDER")

    def listed(self, objects: Sequence[Object]) -> list[Listed]:
        """The images by the names that they have below the folder that all of them share."""
        addresses = [address(self._whole(o.ref)) for o in objects]
        root = _common(addresses)
        uris = self._uris([o.ref for o in objects])
        return [Listed(a[len(root) :].lstrip("/"), uri, 0) for a, uri in zip(addresses, uris, strict=True)]

    def check(self, items: Items) -> None:
        """Refuse to go on where not one image can be read.

        Raises:
            SourceError: It names the first.
        """
        if len(items) and not (items.width > 0).any():
            raise SourceError(
                f"none of {counted(len(items), 'image')} can be read, for example {shown(items.uri[0])}; name the "
                "folder that they were copied to with --images FOLDER, or --images s3://BUCKET/PATH=FOLDER"
            )

    def _whole(self, ref: str) -> str:
        local = local_path(ref)
        return ref if local is None else str(self._base / local)

    def _uris(self, refs: Sequence[str]) -> list[str]:
        """Where each is read from; one that is nowhere is looked for beside those that it lay with."""
        found = {ref: self._uri(ref) for ref in refs}
        homes = {_folder(ref): uri.rpartition("/")[0] for ref, uri in found.items() if uri}
        return [uri or self._absent(ref, homes.get(_folder(ref))) for ref, uri in found.items()]

    def _absent(self, ref: str, home: str | None) -> str:
        if home is not None:
            return f"{home}/{ref.rpartition('/')[2]}"
        return str(next(iter(self._places(ref)), self._whole(ref)))

    def _uri(self, ref: str) -> str:
        """Where an image is; empty where no folder has it."""
        whole = self._whole(ref)
        if not self._folders or (local_path(ref) is not None and Path(whole).is_file()):
            return whole
        return str(next((p for p in self._places(ref) if p.is_file()), ""))

    def _places(self, ref: str) -> Iterable[Path]:
        """Where an image may be: below a prefix's folder, or in a folder under the longest end of its path there."""
        parts = PurePosixPath(place(ref).path if local_path(ref) is None else ref.lstrip("/")).parts
        for prefix, folder in self._folders:
            if prefix and ref.startswith(f"{prefix}/") and ".." not in parts:
                yield folder / ref[len(prefix) + 1 :]
            elif not prefix:
                yield from (folder.joinpath(*parts[n:]) for n in range(len(parts)) if ".." not in parts[n:])


def _folder(ref: str) -> str:
    return ref.rpartition("/")[0]


def _common(addresses: Sequence[str]) -> str:
    """The folder that all lie in."""
    folders = [a.split("/")[:-1] for a in (min(addresses), max(addresses))]
    return "/".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*folders, strict=False)))
