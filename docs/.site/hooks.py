"""What turns the pages of the repository into a site: anchors as GitHub makes them, and the pages outside docs/.

mkdocs calls these functions by name (https://www.mkdocs.org/dev-guide/plugins/#events).
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
CONTRIB = ("labelstudio", "prolific", "cvat", "mlflow", "huggingface")
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "LICENSE.txt",
    **{f"contrib/gtloop-{name}/README.md": f"contrib/{name}.md" for name in CONTRIB},
}
"""Path in the repository of what does not lie in docs/, to its path on the site."""
INSIDE_OUT = {there: here for here, there in OUTSIDE.items()}
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", flags=re.S | re.M)
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_config(config: Any) -> Any:
    """Headings get the anchors that GitHub gives them, so that a link works in both places."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = _anchor
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/, the style, and a search that works from a folder."""
    for here, there in OUTSIDE.items():
        files.append(File.generated(config, there, content=(ROOT / here).read_text("utf-8")))
    files.append(File.generated(config, "css/site.css", abs_src_path=str(ROOT / "docs/.site/site.css")))
    files.append(File.generated(config, "js/search.js", abs_src_path=str(ROOT / "docs/.site/search.js")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that lead from or to a page outside docs/ lead to its place on the site."""
    here = page.file.src_uri
    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(lambda m: m[1] + _moved(m[2], here) + m[3], text) for text in parts[::2]]
    return "".join(parts)


def on_post_build(config: Any) -> None:
    """The index of the search as a script, for pages that are opened from a folder."""
    folder = Path(config.site_dir) / "search"
    places = json.loads((folder / "search_index.json").read_text("utf-8"))["docs"]
    (folder / "index.js").write_text(f"var site_index = {json.dumps(places)};\n", "utf-8")


def _moved(target: str, here: str) -> str:
    """A link of the repository as a link between pages of the site; ``here`` is the page's path on the site."""
    if "://" in target or target.startswith(("mailto:", "/")):
        return target
    folder = posixpath.dirname(INSIDE_OUT.get(here, f"docs/{here}"))
    there = posixpath.normpath(posixpath.join(folder, target))
    place = OUTSIDE.get(there, there.removeprefix("docs/") if there.startswith("docs/") else None)
    return target if place is None else posixpath.relpath(place, posixpath.dirname(here) or ".")


def _anchor(heading: str, separator: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)
