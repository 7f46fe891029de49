"""Networks: found by name or path, built for the run's categories, saved as plain tensors and built again.

A checkpoint of ultralytics is a pickle of the whole network, which may run code when it is opened. A model of ours is
its architecture (JSON) and its tensors; somebody's weights are opened with the library's list of known classes only.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gtloop.errors import ConfigError, RunError

SIZES = "nsmlx"
RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
"""Where the library itself fetches its weights from (``ultralytics.utils.downloads.attempt_download_asset``)."""
OPTION = "detectors.ultralytics"


class Kind(NamedTuple):
    """What the library calls a task: its name there, the ending of its models, and what it is in words."""

    task: str
    ending: str
    words: str

    @property
    def stem(self) -> str:
        """The smallest newest model of this kind."""
        return f"yolo26n{self.ending}"


KINDS = {
    "bbox": Kind("detect", "", "boxes"),
    "classification": Kind("classify", "-cls", "classification"),
    "segmentation": Kind("semantic", "-sem", "semantic segmentation"),
}
HEADS = {"Detect": "detect", "v10Detect": "detect", "Classify": "classify", "SemanticSegment": "semantic"}
"""Last layers that this detector trains and reads; others, such as those that go by text prompts, it does not."""
WORDS = {kind.task: kind.words for kind in KINDS.values()} | {
    "segment": "instance segmentation",
    "pose": "key points",
    "obb": "rotated boxes",
    "depth": "depth",
}


class Source(NamedTuple):
    """What a fit starts from: an architecture and, unless it starts from nothing, a network with weights."""

    architecture: dict[str, Any]
    net: Any | None


def source(name: str, folder: Path, kind: Kind, *, scratch: bool) -> Source:
    """Find what the options name.

    Args:
        name: ``auto``, a file (.pt, .yaml), or the name of one with or without its ending.
        folder: Where weights without a folder in their name lie.
        kind: Of the run's task.
        scratch: Start from an architecture only.

    Raises:
        ConfigError: Nothing of that name, weights that are not there, or a model of another task.
    """
    suffix = ".yaml" if scratch else ".pt"
    name = kind.stem + suffix if name == "auto" else name
    if not name.endswith((".pt", ".yaml", ".yml")):
        name += suffix
    if name.endswith(".pt") and scratch:
        raise ConfigError(
            f"{OPTION}.scratch trains an architecture from nothing, but {OPTION}.model names weights: {name}; "
            f"name an architecture such as {kind.stem}.yaml, or leave out scratch"
        )
    if not name.endswith(".pt") and not scratch:
        raise ConfigError(
            f"{OPTION}.model={name} is an architecture without weights; to train it from nothing, which takes "
            f"thousands of labels, say -o {OPTION}.scratch=true; else name weights such as {kind.stem}.pt"
        )
    return _architecture(name, kind) if scratch else _weights(name, folder, kind)


def build(architecture: Mapping[str, Any], kind: Kind, names: tuple[str, ...], state: Mapping[str, Any] | None) -> Any:
    """A network for ``names``; with ``state`` of the widths that those tensors have, and with them in it.

    Raises:
        RunError: The tensors are not those of this architecture.
    """
    import copy

    from ultralytics.nn import tasks
    from ultralytics.utils.torch_utils import intersect_dicts

    classes = {
        "detect": tasks.DetectionModel,
        "classify": tasks.ClassificationModel,
        "semantic": tasks.SemanticSegmentationModel,
    }

    def made(count: int) -> Any:
        return classes[kind.task](copy.deepcopy(dict(architecture)), ch=3, nc=count, verbose=False)

    net = made(len(names))
    if state is not None and kind.task == "detect":
        # The class branch keeps the width of the weights that a fit began with (``BaseModel.load``), whatever
        # their number of categories was; a donor that wide makes ``load`` rebuild the branch.
        width = _branch_width(state)
        if width and width != _branch_width(net.state_dict()):
            net.load(made(width), verbose=False)
    net.names = dict(enumerate(names))
    net.task = kind.task
    if state is not None:
        if len(intersect_dicts(dict(state), net.state_dict())) != len(net.state_dict()):
            raise RunError("its tensors are not those of its architecture in the installed ultralytics; fit a new one")
        net.load_state_dict(dict(state))
    return net


def start(origin: Source, kind: Kind, names: tuple[str, ...]) -> Any:
    """A network for ``names`` with the weights of ``origin`` wherever shapes, or names of categories, agree."""
    net = build(origin.architecture, kind, names, None)
    if origin.net is not None:
        net.load(origin.net, verbose=False)
        net.names = dict(enumerate(names))
    return net


def _branch_width(state: Mapping[str, Any]) -> int:
    """Channels of the last hidden layer of a detector's class branch; 0 where there is no such branch."""
    found = [k for k in state if re.fullmatch(r"model\.\d+\.cv3\.0\.2\.weight", k)]
    return int(state[found[-1]].shape[1]) if found else 0


def _architecture(name: str, kind: Kind) -> Source:
    from ultralytics.nn.tasks import yaml_model_load
    from ultralytics.utils import YAML

    known = _architectures(kind)
    path = Path(name)
    if path.is_file():
        found = YAML.load(path)
        found = {**found, "yaml_file": path.name, "scale": found.get("scale", _scale(path.stem))}
    elif path.name == name and {path.stem, _unscaled(path.stem)} & _shipped().keys():
        found = yaml_model_load(name)
    else:
        raise ConfigError(f"{OPTION}.model={name}: {_unknown(name, known)}")
    if not isinstance(found, dict) or "head" not in found:
        raise ConfigError(f"{OPTION}.model={name} is no architecture of ultralytics; name one such as {kind.stem}.yaml")
    _check_layers(found, name, kind, ".yaml")
    found.setdefault("nc", 80)
    found["yaml_file"] = Path(str(found["yaml_file"])).name
    return Source(found, None)


def _weights(name: str, folder: Path, kind: Kind) -> Source:
    path = Path(name) if Path(name).is_file() else folder / name
    if not path.is_file():
        raise ConfigError(_missing(name, folder, kind))
    net = _opened(path)
    _check_layers(net.yaml, name, kind, ".pt")
    return Source({**net.yaml, "yaml_file": Path(str(net.yaml.get("yaml_file", name))).name}, net)


def weights(name: str, folder: Path, kind: Kind) -> Any:
    """The network with the weights that ``source`` finds without ``scratch``."""
    return source(name, folder, kind, scratch=False).net


def _opened(path: Path) -> Any:
    """The network in a checkpoint; only the library's own classes and tensors are read."""
    from ultralytics.nn import tasks

    try:
        checkpoint, _ = tasks.torch_safe_load(path, safe_only=True)
        net = checkpoint.get("ema") or checkpoint["model"]
        net = net.float().eval()
        net.yaml["head"], net.yaml["nc"]  # an architecture is what it is built from again
    except Exception as e:  # whatever a pickle of another program or version does
        reason = " ".join(str(e).split()).removeprefix("ERROR ❌️ ")[:200]
        raise ConfigError(
            f"{path}: no weights that ultralytics {_version()} opens with its own classes only ({reason}); "
            f"name a .pt of a YOLO model that it trained"
        ) from None
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def _missing(name: str, folder: Path, kind: Kind) -> str:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    if Path(name).name != name:
        return f"{OPTION}.model={name}: there is no such file"
    if name not in GITHUB_ASSETS_NAMES:
        fitting = sorted(n for n in GITHUB_ASSETS_NAMES if _task_of(n) == kind.task)
        return f"{OPTION}.model={name}: {_unknown(name, fitting)}"
    _check_kind(_task_of(name), name, kind, ".pt")
    return (
        f"{OPTION}.model={name} is not in {folder.resolve()}, and gtloop downloads nothing: fetch {RELEASE}/{name} "
        f"into that folder; or train from nothing, which takes thousands of labels: -o {OPTION}.scratch=true"
    )


def _check_layers(architecture: Mapping[str, Any], name: str, kind: Kind, suffix: str) -> None:
    """Refuse what is of another task, and what fetches weights where it is built."""
    from ultralytics.nn.tasks import guess_model_task

    layers = [str(layer[2]) for part in ("backbone", "head") for layer in architecture.get(part, [])]
    if "TorchVision" in layers:
        raise ConfigError(
            f"{OPTION}.model={name} has a backbone of torchvision, whose weights would be downloaded; "
            f"name one such as {kind.stem}{suffix}, or choose -o run.detector=torchvision"
        )
    task = HEADS.get(layers[-1])
    guessed = guess_model_task(dict(architecture))
    _check_kind(
        task or (guessed if guessed in WORDS and guessed not in HEADS.values() else layers[-1]), name, kind, suffix
    )


def _check_kind(task: str | None, name: str, kind: Kind, suffix: str) -> None:
    if task != kind.task:
        raise ConfigError(
            f"{OPTION}.model={name} is a model for {WORDS.get(str(task), str(task))}, this run needs one for "
            f"{kind.words}; name one such as {kind.stem}{suffix}"
        )


def _task_of(name: str) -> str | None:
    """The task of published weights, by the rule of their names."""
    if match := re.fullmatch(r"yolo(?:v3|v5|v8|v9|v10|11|12|26)[a-z0-9]*(-[a-z0-9-]+)?\.pt", name):
        ending = match[1] or ""
        named = {"-cls": "classify", "-sem": "semantic", "-sem-ade20k": "semantic", "-seg": "segment"}
        named |= {"-pose": "pose", "-obb": "obb", "-depth": "depth", "": "detect", "-oiv7": "detect"}
        return named.get(ending)
    return None


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"no model of that name; did you mean {close[0]}?" if close else f"no model of that name; {known[-1]} is one"


def _shipped() -> dict[str, Path]:
    """Architectures of the package, by name without size and ending."""
    import ultralytics

    folder = Path(ultralytics.__file__).parent / "cfg" / "models"
    return {path.stem: path for path in sorted(folder.rglob("*.yaml"))}


def _architectures(kind: Kind) -> list[str]:
    """Names of the package's architectures for a task, one for each size."""
    from ultralytics.utils import YAML

    names = []
    for stem, path in _shipped().items():
        if HEADS.get(str(YAML.load(path)["head"][-1][2])) == kind.task:
            sized = re.fullmatch(r"(yolov?\d+)(-.*)?", stem)
            names += [f"{sized[1]}{size}{sized[2] or ''}.yaml" for size in SIZES] if sized else [f"{stem}.yaml"]
    return names


def _unscaled(stem: str) -> str:
    return re.sub(r"^(yolov?\d+)[nslmx](?=-|$)", r"\1", stem)


def _scale(stem: str) -> str:
    found = re.match(r"yolov?\d+([nslmx])(?=-|$)", stem)
    return found[1] if found else ""


def _version() -> str:
    from importlib.metadata import version

    return version("ultralytics")
