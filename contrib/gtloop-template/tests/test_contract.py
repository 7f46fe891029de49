"""Detector and sampler keep gtloop's contract, and gtloop finds them."""

from importlib.metadata import entry_points

from gtloop.testing import DetectorContract, SamplerContract

from gtloop_template.detector import TemplateDetector
from gtloop_template.sampler import TemplateSampler


class TestTemplateDetector(DetectorContract):
    plugin = TemplateDetector


class TestTemplateSampler(SamplerContract):
    plugin = TemplateSampler


class TestTemplateSamplerFewestFirst(SamplerContract):
    plugin = TemplateSampler
    options = {"first": "fewest"}


def test_gtloop_finds_them() -> None:
    (point,) = entry_points(group="gtloop", name="template")
    hooks = point.load()
    assert TemplateDetector in hooks.gtloop_detectors()
    assert TemplateSampler in hooks.gtloop_samplers()
