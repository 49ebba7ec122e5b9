"""Archives of torch.export read as data: their JSON and raw numbers, never what is pickled in them.

The format is that of torch 2.9 to 2.13 (torch/export/pt2_archive and torch/_export/serde/schema.py, schema version 8): a zip of
`models/*.json` (the graph), `data/weights` and `data/constants` (a table in JSON and one file of raw numbers for each tensor).
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgekit.core.errors import BadInputError, ConversionError
from edgekit.core.graph import TensorSpec
from edgekit.networks.program import GETITEM, Dtype, Program, Reference, Step

_SCHEMA_MAJOR: Final = 8
_FREE_BATCH: Final = 2
_MAX_BYTES: Final = 1 << 30
_REEXPORT: Final = "export it again: torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2')"
_DTYPES: Final = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
}
"""By torch's number of a type of numbers."""


def read_pt2(path: Path) -> Program:
    """The program of an archive; a free batch is taken as 2.

    Raises BadInputError where the archive is damaged, holds pickled parts, several models or an older format; ConversionError
    where a dimension other than the batch is free, or an argument is none that an operator on tensors takes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, path).program()
    except zipfile.BadZipFile as error:
        raise BadInputError(
            f"{path} is not a complete .pt2 archive: {error}", hint="copy the file again, or " + _REEXPORT
        ) from error
    # What records of other kinds than the schema's make the reading trip over; zipfile raises the last for ways to pack it lacks.
    except (AttributeError, LookupError, TypeError, ValueError, EOFError, OSError, NotImplementedError) as error:
        reason = f"{type(error).__name__}: {error}"[:150]
        raise BadInputError(
            f"the archive {path} is damaged ({reason})", hint="copy the file again, or " + _REEXPORT
        ) from error


class _Archive:
    """The parts of one archive by their names inside its only folder."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._parts = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
            raise self._refused("unpacks to more than 1 GB", "edgekit is for networks that fit small boards")
        old = {"serialized_exported_program.json", "serialized_state_dict.pt", "serialized_state_dict.json"}
        if old & {info.filename.rpartition("/")[2] for info in archive.infolist()}:
            raise self._refused("is of the format before torch 2.9, whose weights are pickled", _REEXPORT)
        models = [name for name in self._parts if re.fullmatch(r"models/[^/]+\.json", name)]
        if not models:
            compiled = any(name.startswith("data/aotinductor/") for name in self._parts)
            what = "holds compiled code and no graph" if compiled else "holds no graph of torch.export"
            raise self._refused(what, _REEXPORT)
        if len(models) > 1:
            raise self._refused(f"holds {len(models)} models", "save each into a file of its own")
        if self._parts.get("archive_version") and self._read("archive_version") != b"0":
            raise self._refused("is of a later format than edgekit reads", "save it with torch 2.9 to 2.13")
        if self._parts.get("byteorder") and self._read("byteorder") != b"little":
            raise self._refused("was saved by a big-endian machine", "save it on a PC")
        self._model = models[0].removeprefix("models/").removesuffix(".json")

    def program(self) -> Program:
        record = json.loads(self._read(f"models/{self._model}.json"))
        version = record["schema_version"]["major"]
        if version != _SCHEMA_MAJOR:
            raise self._refused(
                f"has schema version {version}, expected {_SCHEMA_MAJOR}", "save it with torch 2.9 to 2.13"
            )
        tensors = self._tensors("weights") | self._tensors("constants")
        return _Model(record, tensors, self._path).program()

    def _tensors(self, kind: str) -> dict[str, npt.NDArray[Any]]:
        if f"data/{kind}/{self._model}.pt" in self._parts:
            raise self._refused(f"holds its {kind} pickled", _REEXPORT)
        table = json.loads(self._read(f"data/{kind}/{self._model}_{kind}_config.json"))["config"]
        return {name: self._tensor(kind, name, entry) for name, entry in table.items()}

    def _tensor(self, kind: str, name: str, entry: Mapping[str, Any]) -> npt.NDArray[Any]:
        meta = entry["tensor_meta"]
        if entry["use_pickle"] or meta is None or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise self._refused(
                f"holds {name} pickled, which edgekit does not unpickle: that can run code",
                "let the network hold plain tensors alone, and " + _REEXPORT,
            )
        if meta["dtype"] not in _DTYPES:
            raise ConversionError(f"{name} in {self._path} is not float32", hint="export model.float()")
        sizes, strides = ([int(one["as_int"]) for one in meta[key]] for key in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        stored = np.frombuffer(self._read(f"data/{kind}/{entry['path_name']}"), dtype=np.dtype(_DTYPES[meta["dtype"]]))
        return _strided(stored, sizes, strides, offset, name)

    def _read(self, name: str) -> bytes:
        return self._archive.read(self._parts[name])

    def _refused(self, what: str, hint: str) -> BadInputError:
        return BadInputError(f"{self._path} {what}", hint=hint)


def _strided(
    stored: npt.NDArray[Any], sizes: Sequence[int], strides: Sequence[int], offset: int, name: str
) -> npt.NDArray[Any]:
    """A copy of a tensor out of what is stored. Raises ValueError where it would reach beyond."""
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    elements = math.prod(sizes)
    if (
        min([offset, *sizes, *strides]) < 0
        or elements * stored.itemsize > _MAX_BYTES
        or (elements and last >= len(stored))
    ):
        raise ValueError(f"{name} reaches beyond what is stored")
    if not elements:
        return np.zeros(sizes, stored.dtype)
    steps = [stride * stored.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(stored[offset:], sizes, steps).copy()


class _Model:
    """Looks up what the names of one graph stand for."""

    def __init__(self, record: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
        module = record["graph_module"]
        self._graph, self._signature = module["graph"], module["signature"]
        self._ranges, self._tensors, self._path = record.get("range_constraints", {}), tensors, path
        self._names: dict[str, str] = {}
        self._learnt: set[str] = set()

    def program(self) -> Program:
        inputs = [spec for given in self._signature["input_specs"] if (spec := self._input(given))]
        outputs = []
        for given in self._signature["output_specs"]:
            ((kind, spec),) = given.items()
            if kind != "user_output" or "as_tensor" not in spec["arg"]:
                raise ConversionError(
                    f"the network in {self._path} gives more than one tensor or changes its own state ({kind})",
                    hint="call .eval() on it, and let it return one tensor",
                )
            outputs.append(self._named(spec["arg"]["as_tensor"]["name"]))
        return Program(
            inputs=tuple(inputs),
            steps=tuple(step for node in self._graph["nodes"] for step in self._steps(node)),
            outputs=tuple(outputs),
            constants={name: self._tensors[name] for name in self._names.values()},
            parameters=frozenset(self._learnt),
        )

    def _input(self, given: Mapping[str, Any]) -> TensorSpec | None:
        """An input, None for what is a constant."""
        ((kind, spec),) = given.items()
        field = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}.get(
            kind
        )
        if field is not None:
            self._names[spec["arg"]["name"]] = spec[field]
            if kind == "parameter":
                self._learnt.add(spec[field])
            return None
        if kind != "user_input" or "as_tensor" not in spec["arg"]:
            raise ConversionError(
                f"the network in {self._path} takes something other than a tensor ({kind})",
                hint="make it take one tensor",
            )
        name = spec["arg"]["as_tensor"]["name"]
        meta = self._graph["tensor_values"][name]
        shape = tuple(self._size(name, axis, size) for axis, size in enumerate(meta["sizes"]))
        dtype = _DTYPES.get(meta["dtype"], "another type")
        return TensorSpec(name=name, shape=shape, dtype=dtype, scale=None, zero_point=None)

    def _size(self, name: str, axis: int, size: Mapping[str, Any]) -> int:
        if "as_int" in size:
            return int(size["as_int"])
        symbol = re.fullmatch(r"Symbol\('(\w+)'.*\)|(\w+)", size["as_expr"]["expr_str"])
        if axis > 0 or symbol is None:
            raise ConversionError(
                f"dimension {axis} of {name} in {self._path} is dynamic; only the batch may be",
                hint="export with fixed sizes: leave dynamic_shapes out",
            )
        least = self._ranges.get(symbol[1] or symbol[2], {}).get("min_val") or 0
        return max(_FREE_BATCH, int(least))

    def _steps(self, node: Mapping[str, Any]) -> list[Step]:
        """One for the operator, and one for each of its results where there are several."""
        operator = node["target"].removeprefix("torch.ops.aten.")
        given = {one["name"]: self._argument(one["arg"], operator) for one in node["inputs"]}
        if operator.startswith("_operator."):
            given = dict(zip(("self", "other"), given.values(), strict=False))
        outputs = [next(iter(one.items())) for one in node["outputs"]]
        name = node.get("name") or operator
        match outputs:
            case [("as_tensor" | "as_sym_int", value)]:
                return [Step(name=value.get("name") or value["as_name"], operator=operator, arguments=given)]
            case [("as_tensors", values)]:
                names = [value["name"] for value in values]
            case []:
                return []
            case _ if all(kind == "as_tensor" for kind, _ in outputs):
                names = [value["name"] for _, value in outputs]
            case _:
                raise ConversionError(
                    f"{operator} (at {name}) returns something other than a tensor", hint="leave it out of the network"
                )
        whole = f"all of {names[0]}"
        return [
            Step(name=whole, operator=operator, arguments=given),
            *(
                Step(name=one, operator=GETITEM, arguments={"self": Reference(whole), "index": index})
                for index, one in enumerate(names)
            ),
        ]

    def _argument(self, record: Mapping[str, Any], operator: str) -> Any:
        ((kind, value),) = record.items()
        match kind:
            case "as_none" | "as_memory_format" | "as_layout" | "as_device":
                return None
            case "as_tensor":
                return Reference(self._named(value["name"]))
            case "as_tensors":
                return [Reference(self._named(one["name"])) for one in value]
            case "as_optional_tensors":
                return [self._argument(one, operator) for one in value]
            case "as_optional_tensor" | "as_sym_int" | "as_sym_float":
                return self._nested(value)
            case "as_sym_ints":
                return [self._nested(one) for one in value]
            case "as_float":
                return float(value)
            case "as_floats":
                return [float(one) for one in value]
            case "as_scalar_type" if value in _DTYPES:
                return Dtype(_DTYPES[value])
            case "as_int" | "as_ints" | "as_bool" | "as_bools" | "as_string":
                return value
        raise ConversionError(
            f"operator {operator} in {self._path} takes an argument that is not supported ({kind})",
            hint="leave it out of the network",
        )

    def _nested(self, record: Mapping[str, Any]) -> Any:
        ((kind, value),) = record.items()
        match kind:
            case "as_name":
                return Reference(value)
            case "as_tensor":
                return Reference(self._named(value["name"]))
            case "as_int" | "as_float":
                return value
        return None

    def _named(self, name: str) -> str:
        """The name in the state dict of what the graph calls otherwise."""
        return self._names.get(name, name)
