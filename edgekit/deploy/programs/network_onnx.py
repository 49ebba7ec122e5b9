"""A network in an .onnx file, run by ONNX Runtime."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.deploy.programs.refusal import USAGE, Refusal, missing

MODEL = "model.onnx"


class Network:
    """The one network of the file, on float32, channels first."""

    def __init__(self, path: Path, threads: int, signature: str | None) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
        except ImportError:
            raise missing("ONNX Runtime", "onnxruntime") from None
        if signature is not None:
            raise Refusal(f"{path} is one network, without variants: leave --variant out", USAGE)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (self._input,), (self._output,) = self._session.get_inputs(), self._session.get_outputs()
        told = self._session.get_modelmeta().custom_metadata_map
        if "edgekit" not in told:
            raise Refusal("the model says nothing of its labels: take one that edgekit built")
        self.metadata = json.loads(told["edgekit"])

    def prepared(self, x_HWC: Any) -> Any:
        return np.ascontiguousarray(np.moveaxis(x_HWC[None], -1, 1))

    def run(self, x_NCHW: Any) -> Any:
        return self._session.run([self._output.name], {self._input.name: x_NCHW})[0]

    def answer(self, y_NK: Any) -> Any:
        """`y_K`."""
        return y_NK[0]
