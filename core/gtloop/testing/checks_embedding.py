"""What a detector that gives embeddings promises of them."""

from __future__ import annotations

import numpy as np

from gtloop.testing.case import Case, during, prepare, require


def check_embeddings_are_vectors(case: Case) -> None:
    """Embeddings, where it gives them, are finite vectors of one length, in order, the same alone as in a batch."""
    detector = case.build("embedding")
    if "embedding" not in detector.gives:
        return
    with during("embedder"):
        embedder = detector.embedder()
    prepared = prepare(detector, case.items)
    with during("embed_batch"):
        together = np.asarray(detector.embed_batch(embedder, prepared))
        alone = [np.asarray(detector.embed_batch(embedder, [p])) for p in prepared]
    n = len(prepared)
    require(
        together.ndim == 2 and len(together) == n and together.dtype.kind == "f",
        f"embed_batch of {n} images must return ({n}, d) floats, not {together.dtype} of shape {together.shape}",
    )
    require(np.isfinite(together).all(), "an embedding holds values that are not finite")
    shapes = {a.shape for a in alone}
    require(
        shapes == {(1, together.shape[1])},
        f"an image alone is embedded in another shape: {sorted(shapes)}, together {together.shape}",
    )
    near = np.allclose(together, np.concatenate(alone), atol=1e-3 * (1 + np.abs(together).max()))
    require(near, "an image gets another embedding alone than together with others, or in another order")
