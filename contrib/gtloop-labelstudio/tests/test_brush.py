"""Masks survive the way to Label Studio's brush and back; Label Studio's own code reads and writes the same."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studio import INSTALL, executable

from gtloop_labelstudio import brush

SDK = """
import json, sys
import numpy as np
from label_studio_sdk.converter.brush import decode_rle, encode_rle
asked = json.load(sys.stdin)
read = [decode_rle(code).tolist() for code in asked["codes"]]
written = [encode_rle(np.array(values, np.uint8)) for values in asked["values"]]
json.dump({"read": read, "written": [[int(b) for b in code] for code in written]}, sys.stdout)
"""
"""Run by the server's own interpreter, whose packages are Label Studio's."""


@st.composite
def a_mask(draw: st.DrawFn) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """From noise to large areas, so that every length of a block occurs."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 600))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random((height, width)) < draw(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
    y, x = draw(st.integers(0, height)), draw(st.integers(0, width))
    mask[:y, :x] = True
    return mask


@given(a_mask())
@settings(max_examples=60, deadline=None)
def test_masks_come_back(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    assert np.array_equal(brush.decode(brush.encode(mask), (mask.shape[0], mask.shape[1])), mask)


def test_long_runs_come_back() -> None:
    mask = np.zeros((300, 700), bool)
    mask[20:280] = True
    assert np.array_equal(brush.decode(brush.encode(mask), (300, 700)), mask)


@given(st.lists(st.integers(-5, 300), max_size=60), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_refused(code: list[int], height: int, width: int) -> None:
    with contextlib.suppress(ValueError):
        assert brush.decode(code, (height, width)).shape == (height, width)


def test_another_size_is_refused_before_memory_is_taken() -> None:
    code = brush.encode(np.ones((4, 5), bool))
    with pytest.raises(ValueError, match="no brush strokes of an image of 5 x 5 pixels"):
        brush.decode(code, (5, 5))
    with pytest.raises(ValueError, match="break off"):
        brush.decode(code[:-1], (4, 5))


def test_label_studio_itself_reads_and_writes_the_same() -> None:
    """Its library decodes what is encoded here, and what it encodes (soft edges too) is decoded here."""
    python = executable().with_name("python")
    if not python.is_file():
        why = f"no Label Studio at {executable()}: {INSTALL}"
        if os.environ.get("GTLOOP_FORBID_SKIPS"):
            pytest.fail(why)
        pytest.skip(why)
    rng = np.random.default_rng(3)
    masks = [rng.random((h, w)) < p for h, w, p in ((1, 1, 1), (7, 9, 0.5), (40, 50, 0.02), (60, 300, 0.98))]
    masks += [np.zeros((30, 30), bool), np.ones((200, 400), bool)]
    soft = [rng.integers(0, 256, (9, 11, 4)), np.repeat(rng.integers(0, 256, (20, 30, 1)), 4, axis=2)]
    asked = {"codes": [brush.encode(m) for m in masks], "values": [s.ravel().tolist() for s in soft]}
    done = subprocess.run([python, "-c", SDK], input=json.dumps(asked), capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    for mask, values in zip(masks, told["read"], strict=True):
        rgba = np.array(values, np.uint8).reshape(*mask.shape, 4)
        assert np.array_equal(rgba[..., 3], np.where(mask, 255, 0))
    for image, code in zip(soft, told["written"], strict=True):
        size = (image.shape[0], image.shape[1])
        assert np.array_equal(brush.decode(code, size), image[..., 3] >= brush.OPAQUE)
