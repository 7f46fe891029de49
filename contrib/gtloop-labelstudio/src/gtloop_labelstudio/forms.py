"""A task's form as a labelling configuration of Label Studio, and what a labelling configuration can't show."""

from __future__ import annotations

import html
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from gtloop.errors import Unsupported
from gtloop.interfaces import Form, Primitive

IMAGE = "image"
"""Name of the picture in the configuration, and its key in the data of a task."""
VOID = "void"
"""Label for pixels that nobody can tell."""


class Control(NamedTuple):
    """A tag of Label Studio's: its name, that of its labels, and attributes that it always has."""

    tag: str
    label: str = "Label"
    attributes: str = ""

    @property
    def type(self) -> str:
        """Type of its results, and the key of the labels in their values."""
        return self.tag.lower()


CONTROLS = {
    "choice": Control("Choices", "Choice", ' showInline="true" required="true"'),
    "box": Control("RectangleLabels", attributes=' canRotate="false"'),
    "mask": Control("BrushLabels"),
    "polygon": Control("PolygonLabels"),
    "point": Control("KeyPointLabels"),
    "text": Control("TextArea", attributes=' rows="3" maxSubmissions="1" editable="true"'),
}
"""Kind of primitive to how Label Studio asks for it."""

_HINT = "Nothing to mark: submit it as it is. Can't tell, or the image is broken: Skip."
_HINT_CHOICE = "Can't tell, or the image is broken: Skip."


def check(form: Form | None) -> Form:
    """The form, if Label Studio can show it.

    Raises:
        Unsupported: With what it can't.
    """
    if form is None:
        raise Unsupported("annotator 'labelstudio' needs a task with a form")
    names = [p.name for p in form.primitives]
    for p in form.primitives:
        if p.kind not in CONTROLS:
            raise Unsupported(f"annotator 'labelstudio' can't ask for a {p.kind}; choose another annotator")
        if p.name == IMAGE or names.count(p.name) > 1:
            raise Unsupported(
                f"annotator 'labelstudio' can't have two tags called {p.name!r}; choose another annotator"
            )
        for category in p.categories:
            if category != " ".join(category.split()) or category.startswith("$") or not category.isprintable():
                raise Unsupported(
                    f"Label Studio can't show category {category!r}: it takes no $ at the start and no spaces but "
                    "single ones inside; rename it"
                )
        if p.kind == "mask" and VOID in p.categories:
            raise Unsupported(f"Label Studio needs {VOID!r} for pixels that nobody can tell; rename that category")
    return form


def configuration(form: Form) -> str:
    """The labelling configuration, XML; the controls are called as the primitives are."""
    drawn = any(p.kind not in ("choice", "text") for p in form.primitives)
    parts = [f'<Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true"/>']
    parts += [_control(p) for p in form.primitives]
    parts.append(f'<Header value={quoteattr(_HINT if drawn else _HINT_CHOICE)} size="6"/>')
    return "<View>\n  {}\n</View>".format("\n  ".join(parts))


def labels(p: Primitive) -> tuple[str, ...]:
    """What can be chosen for a primitive."""
    return (*p.categories, VOID) if p.kind == "mask" else p.categories


def instructions(form: Form) -> str:
    """What people read before they start, HTML; the text is the user's, and never markup."""
    return "<br>".join(html.escape(line) for line in form.instructions.splitlines())


def _control(p: Primitive) -> str:
    control = CONTROLS[p.kind]
    more = f' choice="{"multiple" if p.multiple else "single"}"' if p.kind == "choice" else ""
    start = f'<{control.tag} name={quoteattr(p.name)} toName="{IMAGE}"{control.attributes}{more}'
    if not p.categories:
        return f"{start}/>"
    inner = "".join(f"<{control.label} value={quoteattr(label)}/>" for label in labels(p))
    return f"{start}>{inner}</{control.tag}>"
