"""Where the weights of a named model come from: torchvision's published ones, or a file."""

from __future__ import annotations

import contextlib
import http.client
import re
import sys
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

from gtloop.errors import ConfigError

DEFAULT, NONE = "default", "none"
PATIENCE_S = 10.0
"""How long the server of the weights may take to answer at all."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")
"""Outputs that only help training; a file may have them or not."""


def fetch(name: str) -> Path:
    """The file of torchvision's published weights of a model, in torch hub's cache; downloaded if it is not there.

    Raises:
        ConfigError: It is not there and can't be fetched.
    """
    import torch
    from torchvision.models import get_model_weights

    url = get_model_weights(name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    if file.is_file():
        return file
    prefix = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        _ask(url)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), prefix[1] if prefix else None, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as e:
        reason = " ".join(str(getattr(e, "reason", e)).split())
        raise ConfigError(
            f"cannot fetch torchvision's weights of {name} from {url} ({reason}); copy that file to {file}, or type "
            "-o detectors.torchvision.weights=none, or weights=PATH of a state dict, or "
            "-o detectors.torchvision.model=efficientnet, whose weights are installed"
        ) from None
    return file


def _ask(url: str) -> None:
    """See that the server answers: torch's download would wait for it without end."""
    from urllib.request import Request, urlopen

    with urlopen(Request(url, method="HEAD", headers={"User-Agent": "torch.hub"}), timeout=PATIENCE_S):
        pass


def adopt_published(net: Any, name: str) -> set[str]:
    """Copy torchvision's published weights into ``net``; the names of the tensors that came.

    Raises:
        ConfigError: They can't be had.
    """
    from torchvision.models import get_model

    fetch(name)
    # torchvision says on the standard output what it loads; that is for results.
    with contextlib.redirect_stdout(sys.stderr):
        return adopt_model(net, get_model(name, weights="DEFAULT", progress=False), f"the weights of {name}")


def adopt_model(net: Any, source: Any, origin: str) -> set[str]:
    """Copy the weights of another instance of the same architecture; as ``adopt``.

    Some published detectors were trained with batch norms of epsilon 0. Their scale w is changed so that
    w / sqrt(v + epsilon) stays what it was.
    """
    state = source.state_dict()
    own = dict(net.named_modules())
    for path, norm in source.named_modules():
        mine = own.get(path)
        if hasattr(norm, "running_var") and mine is not None and mine.eps != norm.eps:
            factor = ((norm.running_var + mine.eps) / (norm.running_var + norm.eps)).sqrt()
            state[f"{path}.weight"] = state[f"{path}.weight"] * factor
    return adopt(net, state, origin)


def adopt_file(net: Any, path: Path) -> set[str]:
    """Copy the state dict in a file; as ``adopt``.

    Raises:
        ConfigError: The file is not there, is no state dict, or one of another network.
    """
    import torch

    path = path.expanduser()  # a shell leaves the ~ of key=~/path alone
    if not path.is_file():
        raise ConfigError(
            f"detectors.torchvision.weights: no file {path}; give 'default', 'none', or the path of a state dict"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises errors of many kinds for files that are not its own
        reason = str(e).split("\n")[0]
        raise ConfigError(
            f"{path} can't be read as a state dict ({type(e).__name__}: {reason}); "
            "write one with torch.save(model.state_dict(), PATH)"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ConfigError(f"{path} holds no state dict; write one with torch.save(model.state_dict(), PATH)")
    return adopt(net, state, str(path))


def adopt(net: Any, state: Mapping[str, Any], origin: str) -> set[str]:
    """Copy tensors into ``net``, all but outputs that are made for another number of categories.

    Returns:
        The names of the tensors of ``net`` that came.

    Raises:
        ConfigError: Other tensors are missing, unknown or of another shape.
    """
    from collections import OrderedDict

    own = net.state_dict()
    outputs = {k for k, v in state.items() if k in own and own[k].shape != v.shape}
    wrong = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}" for k in sorted(_not_outputs(own, state, outputs))
    ]
    kept = OrderedDict((k, v) for k, v in state.items() if k not in outputs)
    # torchvision renames tensors of older files by the version in here.
    kept._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]
    if not wrong:
        found = net.load_state_dict(kept, strict=False)
        needed = (k for k in found.missing_keys if k not in outputs and not k.endswith("num_batches_tracked"))
        wrong = [f"{k} is missing" for k in _but_auxiliary(needed)]
        wrong += [f"{k} is unknown" for k in _but_auxiliary(found.unexpected_keys)]
        if not wrong:
            return set(own) - set(found.missing_keys) - outputs
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise ConfigError(
        f"{origin} is of another network: {'; '.join(wrong[:3])}{more}; "
        "set detectors.torchvision.model to the model that it belongs to, or weights=default"
    )


def _but_auxiliary(keys: Any) -> Iterator[str]:
    return (k for k in keys if not k.startswith(AUXILIARY))


def _not_outputs(own: Mapping[str, Any], state: Mapping[str, Any], names: set[str]) -> set[str]:
    """Those of ``names`` that another number of categories does not explain.

    It changes the first side of a tensor only, and of all outputs by the same factor.
    """
    same_rest = {k for k in names if own[k].ndim and state[k].ndim and own[k].shape[1:] == state[k].shape[1:]}
    factors = {Fraction(own[k].shape[0], state[k].shape[0]) for k in same_rest if state[k].shape[0]}
    return names - same_rest if len(factors) <= 1 else names
