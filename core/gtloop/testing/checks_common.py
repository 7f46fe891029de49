"""Checks that every kind of plugin has to pass."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache

from pydantic import BaseModel

from gtloop.interfaces import API
from gtloop.provided import SLUG, class_fault
from gtloop.testing.case import Case, CheckSkipped, require

HEAVY = ("torch", "torchvision", "timm", "ultralytics", "boto3", "sqlalchemy", "matplotlib", "scipy", "pyarrow", "ray")
"""Libraries that a plugin module may import inside functions only."""
SUMMARY = 72


def check_class_is_complete(case: Case) -> None:
    """The class is a concrete subclass of its kind's base, with a name and a summary."""
    if isinstance(getattr(case.cls, "name", None), str) and not SLUG.fullmatch(case.cls.name):
        raise CheckSkipped("the name is no slug: see check_name_is_slug")
    fault = class_fault(case.cls.kind, case.cls)
    require(not fault, fault)


def check_name_is_slug(case: Case) -> None:
    """The name is a slug: a-z, 0-9 and single hyphens."""
    if not isinstance(getattr(case.cls, "name", None), str):
        raise CheckSkipped("it has no name: see check_class_is_complete")
    require(SLUG.fullmatch(case.cls.name), f"name {case.cls.name!r} is not a slug, such as 'most-objects'")


def check_summary_is_short(case: Case) -> None:
    """The summary is one line of at most 72 characters."""
    if not isinstance(getattr(case.cls, "summary", None), str):
        raise CheckSkipped("it has no summary: see check_class_is_complete")
    text = case.cls.summary
    require(text.strip() and "\n" not in text, f"summary is {text!r}, not one line")
    require(len(text) <= SUMMARY, f"summary has {len(text)} characters, at most {SUMMARY} fit a listing: {text!r}")


def check_api_is_current(case: Case) -> None:
    """It was written for this version of the plugin interface."""
    require(case.cls.api == API, f"written for plugin API {case.cls.api}, this gtloop has {API}")


def check_options_are_described(case: Case) -> None:
    """Options are frozen, refuse unknown keys, have a JSON schema, and every field has a description."""
    options: type[BaseModel] = case.cls.Options
    bare = [name for name, info in options.model_fields.items() if not (info.description or "").strip()]
    require(not bare, f"options without a description: {', '.join(bare)}")
    require(options.model_config.get("frozen"), "Options is not frozen")
    require(options.model_config.get("extra") == "forbid", "Options does not refuse unknown keys (extra='forbid')")
    try:
        json.dumps(options.model_json_schema())
    except Exception as e:
        require(False, f"Options has no JSON schema: {e}")


def check_import_is_light(case: Case) -> None:
    """Importing the module in a fresh interpreter imports no heavy library."""
    loaded = _heavy_imports(case.cls.__module__)
    require(loaded is not None, f"module {case.cls.__module__} can't be imported by itself")
    require(not loaded, f"importing {case.cls.__module__} imports {', '.join(loaded or ())}: import inside functions")


def check_can_be_built(case: Case) -> None:
    """It can be constructed with its options."""
    fault = class_fault(case.cls.kind, case.cls)
    if fault and "is not a slug" not in fault:
        raise CheckSkipped("the class is not complete: see check_class_is_complete")
    case.build("built")


@lru_cache
def _heavy_imports(module: str) -> tuple[str, ...] | None:
    path = [p for p in sys.path if p]
    code = (
        f"import sys; sys.path[:0] = {path!r}; import importlib; importlib.import_module({module!r}); "
        f"print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return tuple(done.stdout.split()) if done.returncode == 0 else None


COMMON_CHECKS = (
    check_class_is_complete,
    check_name_is_slug,
    check_summary_is_short,
    check_api_is_current,
    check_options_are_described,
    check_import_is_light,
)
