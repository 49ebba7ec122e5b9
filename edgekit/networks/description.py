"""What a module executes, read off its exported program."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.core.errors import ConversionError
from edgekit.core.graph import Graph
from edgekit.networks.program_graph import read_program


def describe(module: nn.Module, input_shape: tuple[int, ...]) -> Graph:
    """The graph of operators at batch 1 of a module in eval mode. Raises ConversionError where torch cannot export it."""
    try:
        program = torch.export.export(module.eval(), (torch.zeros(1, *input_shape),))
    except Exception as error:  # whatever the module's own code makes the exporter trip over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(
            f"torch cannot export the network: {reason}", hint="its control flow must not depend on values"
        ) from error
    return read_program(program)
