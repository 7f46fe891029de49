"""A desk in a process of its own: ``python serve_desk.py SPEC`` serves the page of a folder until it is ended.

``SPEC`` is a JSON file: ``folder``, ``task`` (a built-in, or "") or ``form``, ``classes``, ``options`` of annotator
``local``, ``run`` (a run's folder, or null).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gtloop.interfaces import Context, Form
from gtloop.registry import Registry
from gtloop_plugins.annotators.local import Local


def build(spec: dict[str, Any]) -> Local:
    """The annotator of a spec; several processes may have one on the same folder."""
    classes = tuple(spec["classes"])
    task = Registry.load().build("task", spec["task"], {}, Context(categories=classes)) if spec["task"] else None
    form = Form.model_validate(spec["form"]) if spec["form"] else task.form()
    more = {k: spec[k] for k in ("instructions", "samples") if spec.get(k)}
    form = Form.model_validate({**form.model_dump(), **more})
    context = Context(categories=classes, workdir=Path(spec["folder"]), form=form, task=task)
    return Local(Local.Options.model_validate(spec["options"]), context)


def main() -> None:
    import gtloop

    spec = json.loads(Path(sys.argv[1]).read_text())
    run = gtloop.open(spec["run"]) if spec.get("run") else None
    build(spec).serve(run, host=None, port=None, ready=lambda text: print(text, "ready", sep="\n", flush=True))


if __name__ == "__main__":
    main()
