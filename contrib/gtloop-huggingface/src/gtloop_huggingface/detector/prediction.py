"""Raw predictions, in pixels of the image as displayed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from gtloop.labels import clip_box
from numpy.typing import NDArray

from gtloop_huggingface.detector.networks import Model

MIN_SCORE = 0.01
MAX_BOXES = 100


def pixel_values(model: Model, images: Sequence[NDArray[np.uint8]], device: Any) -> Any:
    """(N, 3, S, S) float32 of square images, in the network's scale of colours."""
    import torch

    processor = model.processor
    batch = torch.from_numpy(np.ascontiguousarray(np.stack(images))).to(device)
    pixels = batch.permute(0, 3, 1, 2).to(torch.float32)
    if getattr(processor, "do_rescale", True):
        pixels = pixels * float(getattr(processor, "rescale_factor", None) or 1 / 255)
    if getattr(processor, "do_normalize", False):
        mean, std = (
            torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (processor.image_mean, processor.image_std)
        )
        pixels = (pixels - mean) / std
    return pixels


def predict(model: Model, prepared: Sequence[dict[str, Any]], task: str, *, half: bool) -> list[dict[str, Any]]:
    """Raw predictions of prepared images, in order."""
    import torch

    device = model.net.device
    precise = nullcontext() if device.type != "cuda" or not half else torch.autocast("cuda", torch.float16)
    with torch.inference_mode(), precise:
        seen = model.net(pixel_values=pixel_values(model, [p["image"] for p in prepared], device))
    if task == "classification":
        probabilities = seen.logits.double().softmax(1).cpu().numpy()
        return [{"probabilities": row.tolist()} for row in probabilities]
    seen.logits, seen.pred_boxes = seen.logits.float(), seen.pred_boxes.float()
    sizes = [(height, width) for width, height in (p["size"] for p in prepared)]
    found = model.processor.post_process_object_detection(seen, threshold=MIN_SCORE, target_sizes=sizes)
    return [_raw(one, *p["size"]) for one, p in zip(found, prepared, strict=True)]


def _raw(found: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """``RawBoxes`` of one image, best first."""
    scores, boxes, labels = (found[key].cpu().numpy() for key in ("scores", "boxes", "labels"))
    kept = []
    for i in np.argsort(-scores, kind="stable")[:MAX_BOXES]:
        box = clip_box(boxes[i].tolist(), width, height)
        if box is not None and box[2] - box[0] > 0.01 and box[3] - box[1] > 0.01:
            kept.append(([round(v, 2) for v in box], round(float(scores[i]), 5), int(labels[i])))
    return {"xyxy": [k[0] for k in kept], "scores": [k[1] for k in kept], "categories": [k[2] for k in kept]}
