"""What botocore's own service model allows, down to patterns and unknown fields, in requests and in responses."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any

import botocore.session


class Misfit(Exception):
    """A structure is not what the model says."""


@cache
def service() -> Any:
    return botocore.session.get_session().get_service_model("mturk")


def check_input(operation: str, given: Any) -> None:
    shape = service().operation_model(operation).input_shape
    if shape is None:
        if given:
            raise Misfit(f"{operation} takes nothing")
        return
    _check(given, shape, operation)


def check_output(operation: str, given: Any) -> None:
    shape = service().operation_model(operation).output_shape
    _check(given, shape, operation)


def _check(value: Any, shape: Any, at: str) -> None:
    kind = shape.type_name
    if kind == "structure":
        _is(value, dict, at)
        for name in shape.required_members:
            if name not in value:
                raise Misfit(f"{at}.{name} is required")
        for name, part in value.items():
            if name not in shape.members:
                raise Misfit(f"{at}.{name} is unknown")
            _check(part, shape.members[name], f"{at}.{name}")
    elif kind == "list":
        _is(value, list, at)
        _range(len(value), shape, at)
        for n, part in enumerate(value):
            _check(part, shape.member, f"{at}[{n}]")
    elif kind == "string":
        _is(value, str, at)
        _range(len(value), shape, at)
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(pattern, value):
            raise Misfit(f"{at} {value!r} does not match {pattern}")
        if shape.enum and value not in shape.enum:
            raise Misfit(f"{at} {value!r} is none of {shape.enum}")
    elif kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            raise Misfit(f"{at} is no integer")
        _range(value, shape, at)
    elif kind == "boolean":
        _is(value, bool, at)
    elif kind == "timestamp":
        if isinstance(value, bool) or not isinstance(value, int | float | datetime):
            raise Misfit(f"{at} is no timestamp")
    else:
        raise Misfit(f"{at}: a {kind}, which this emulator does not know")


def _is(value: Any, cls: type, at: str) -> None:
    if not isinstance(value, cls):
        raise Misfit(f"{at} is a {type(value).__name__}, not a {cls.__name__}")


def _range(size: int, shape: Any, at: str) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        raise Misfit(f"{at}: {size} is not between {low} and {high}")
