"""What was promised, in words: what is shown of it, how it ended, and its numbers on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtloop.opened import Run

RULES = {
    "exact": "except with a probability of at most {delta:g}, shown by an exact test",
    "cross-fitted": "except with a probability of about {delta:g}, shown by a test on cross-fitted labels",
    "ttest": "except with a probability of about {delta:g}, shown by a t test",
}


def promised(s: dict[str, Any]) -> dict[str, Any]:
    """What was promised, in words, and its four numbers on one scale.

    Args:
        s: What ``gtloop report --json`` prints.
    """
    p = s["promise"]
    selective = p["kind"] == "selective"
    least = p["target"] if selective else 1 - p["max_loss"]
    quality = f"mean {p['metric']}" if not p["metric"].startswith("mean") else p["metric"]
    n = sum(c["n"] for c in p["certificates"] if c["threshold"] is not None)
    numbers = [
        ("certified", p["certified"], "at least, by the test, against labels of people"),
        ("estimated", p["estimated"], f"from {n:,} validation images above the threshold, against labels of people"),
        ("measured", p["measured"], "by an audit, against labels of people"),
        ("true", p["true"], f"against the truth, {p['true_n']:,} images"),
    ]
    line = "what was promised" if in_force(p) else "what was asked for"
    scale = f"Numbers are the {quality} of the machine labels." if selective else "Numbers are 1 - mean loss."
    return {
        "words": _words(p, quality, selective),
        "least": least,
        "scale": f"{scale} The scale goes from 0 to 1; the dashed line is {line}, {least:.3f}.",
        "numbers": [n for n in numbers if n[1] is not None],
        "verdict": _verdict(p, s["items"]["machine"], quality, s["state"] == "finished"),
    }


def in_force(p: Mapping[str, Any]) -> bool:
    """Whether something is certified, if only of a part of the machine labels."""
    return p["certified"] is not None or p["certified_rest"] is not None


def _words(p: dict[str, Any], quality: str, selective: bool) -> str:
    """The promise as far as it is shown: nothing *is* so where nothing is certified."""
    what = (
        f"The {quality} of the machine labels {{}} at least {p['target']:g}"
        if selective
        else f"The mean loss over all images, where labels of people count as right, {{}} at most {p['max_loss']:g}"
    )
    if p["certified"] is not None:
        rule = "cross-fitted" if p["rule"] == "exact" and not p["exact"] else p["rule"]
        return f"{what.format('is')}, {RULES[rule].format(delta=p['delta'])}."
    asked = what.format("is to be")
    if p["rule"] == "empirical":
        return f"{asked}. The rule in use takes the plain mean of the validation images and certifies nothing."
    shown = "nothing is certified" if p["certified_rest"] is None else "this is certified of a part of them"
    return f"{asked}, except with a probability of at most {p['delta']:g}; {shown}."


def _verdict(p: dict[str, Any], machine: int, quality: str, finished: bool) -> tuple[str, str]:
    """One sentence about how it ended, and ``kept``, ``broken`` or ``open``."""
    if void := next((c["void"] for c in p["certificates"] if c["void"]), ""):
        return f"Broken, and withdrawn: {void}.", "broken"
    measured = "" if p["measured"] is None else f"; an audit of {p['audit']['audited']} measured {p['measured']:.3f}"
    if not machine:
        rest = ", so there is nothing to keep" if finished else "" if p["looks"] else " yet"
        return f"Nothing is labelled by machine{rest}{measured}.", "open"
    if p["true"] is None:
        true = ""
    else:
        true = f"{quality} {p['true']:.3f}" if p["kind"] == "selective" else f"mean loss {1 - p['true']:.3f}"
    if not in_force(p):
        known = f"; against the truth, {true}" if true else ""
        return f"Nothing is certified, so nothing is promised{known}{measured}.", "open"
    if p["kept"] is None:
        known = "There is no truth to hold it against"
        if p["true_n"]:
            known = f"The truth covers {p['true_n']} of {machine - p['unproven']}"
        return f"{known}{measured or '; an audit measures it'}.", "open"
    return (f"Kept: in truth, {true}.", "kept") if p["kept"] else (f"Broken: in truth, {true}.", "broken")


def unlooked(s: dict[str, Any], run: Run) -> str:
    """Why no model was tested; empty where one was."""
    if s["promise"]["looks"]:
        return ""
    late = run.settings.loop.certify == "late"
    due = f"after {run.state.facts.plan['look_at'][0]:,} images" if late else "after the first model"
    if s["state"] == "finished":
        return (
            f"Finished without a look: the first was due {due}; people had labelled all by then. No model was tested."
        )
    if s["state"] == "cancelled":
        return f"Cancelled before the first look, which was due {due}. No model was tested."
    return f"No look yet: the first is due {due}. The machine labels nothing before its labels are tested."
