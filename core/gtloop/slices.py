"""Names of slices, one a row: few names, many rows, so each is a small number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Slices:
    """(n,) names as ``codes`` into ``names``, which are distinct and sorted; one may be that of no row.

    Indexing with an array gives the names of those rows.
    """

    def __init__(self, names: Sequence[str], codes: NDArray[Any]) -> None:
        self.names, self.codes = tuple(names), codes

    @classmethod
    def of(cls, values: Any) -> Slices:
        """From one name a row."""
        if isinstance(values, Slices):
            return values
        names, codes = np.unique(np.asarray(values).astype(str), return_inverse=True)
        return cls([str(n) for n in names], codes.ravel().astype(np.min_scalar_type(len(names))))

    @classmethod
    def joined(cls, parts: Iterable[Slices]) -> Slices:
        """The rows of all parts, one after the other."""
        several = list(parts)
        names = sorted({name for part in several for name in part.names})
        kind = np.min_scalar_type(len(names))
        codes = [np.array([names.index(n) for n in part.names], kind)[part.codes] for part in several if len(part)]
        return cls(names, np.concatenate(codes) if codes else np.zeros(0, kind))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, at: Any) -> Slices:
        return Slices(self.names, self.codes[at])

    def __iter__(self) -> Iterator[str]:
        return (self.names[code] for code in self.codes.tolist())

    def counts(self) -> NDArray[np.int64]:
        """(names,) rows of each name."""
        return np.bincount(self.codes, minlength=len(self.names))

    def isin(self, members: Iterable[str]) -> NDArray[np.bool_]:
        """(n,) which rows have one of these names."""
        wanted = set(members)
        found: NDArray[np.bool_] = np.array([name in wanted for name in self.names], np.bool_)[self.codes]
        return found
