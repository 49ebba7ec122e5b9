"""A network as the user's own code makes it, with weights from a file."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgekit.core.errors import BadInputError, UsageError


def make_network(source: str, *, weights: Path | None) -> nn.Module:
    """What "mypkg.nets:resnet20" returns when it is called without arguments, in eval mode, with the weights of a file.

    Runs the code of that module, which is looked for in the current folder too. Raises UsageError where it cannot be imported or
    gives no nn.Module, BadInputError where the weights cannot be read or do not fit it.
    """
    module_name, _, name = source.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = import_module(module_name)
        made: Any = module
        for part in name.split("."):
            made = getattr(made, part)
        made = made()
    except Exception as error:  # whatever the user's code raises
        raise UsageError(
            f"{source} could not be called: {_reason(error)}",
            hint='name a module and what returns the network when it is called without arguments: "mypkg.nets:resnet20"',
        ) from error
    finally:
        sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{source} returned {type(made).__name__}, expected torch.nn.Module", hint="return the network itself"
        )
    network: nn.Module = made.to(device="cpu", dtype=torch.float32)
    if weights is not None:
        _load(network, read_weights(weights), weights)
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Of a .safetensors file, or a state dict that torch saved (also under "state_dict" or "model"); no code is run.

    A prefix "module." of all names is left out. Raises BadInputError.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(str(path))
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror or error}", hint="give a file of weights") from error
    except pickle.UnpicklingError as error:
        raise BadInputError(
            f"{path} holds more than tensors, or is incomplete, and was not unpickled",
            hint="save the state dict alone: torch.save(model.state_dict(), path)",
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"{path} is not a complete file of weights: {_reason(error)}",
            hint="save the state dict again, with safetensors or torch.save",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise BadInputError(f"{path} holds no state dict", hint="save one: torch.save(model.state_dict(), path)")
    prefixed = all(str(name).startswith("module.") for name in found)
    return {str(name).removeprefix("module.") if prefixed else str(name): value for name, value in found.items()}


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _load(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(state) - counters)
    unexpected = sorted(set(state) - set(expected))
    shapes = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    for problem, names in (("lacks", missing), ("has besides", unexpected), ("has in another shape", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise BadInputError(
                f"{path} {problem} what the network calls {', '.join(names[:3])}{more}"
                if problem != "has besides"
                else f"{path} has {', '.join(names[:3])}{more}, which the network does not have",
                hint="give the weights of this network",
            )
    network.load_state_dict({name: state.get(name, value) for name, value in expected.items()})
