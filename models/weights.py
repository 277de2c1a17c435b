"""Reading and writing weights.safetensors with every size known before anything is allocated.

Why this file exists: weights come from strangers. The format is eight bytes of header length, a JSON header and raw
little-endian arrays (github.com/huggingface/safetensors); this reader takes only what the writer here makes: known
types, sorted and gapless data, few tensors, no surprises. Never in it: what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.architectures import BadWeights, BundleTooLarge, Tensors

MAX_BYTES = 64 << 20
"""Greatest size of weights.safetensors."""
MAX_HEADER = 64 << 10
MAX_TENSORS = 64
MAX_NAME = 64

_TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "U8": "|u1"}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}


def parse_json(data: bytes, what: str, error: type[Exception]) -> dict[str, Any]:
    """A JSON object from untrusted bytes: no NaN, no duplicate keys, no deep nesting; else raises `error`."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        """A dict, unless a key comes twice."""
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key is given twice")
        return found

    def constant(name: str) -> Any:
        """NaN and the infinities are not JSON."""
        raise ValueError(f"{name} is not allowed")

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as problem:
        raise error(f"{what} is not readable JSON: {str(problem)[:120]}") from problem
    if not isinstance(parsed, dict):
        raise error(f"{what} is not a JSON object")
    return parsed


def to_bytes(tensors: Tensors) -> bytes:
    """The safetensors file for these arrays, sorted by name, so that equal arrays give equal bytes."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        part = _raw(tensor)
        header[name] = {
            "dtype": _NAMES[tensor.dtype.newbyteorder("<")],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(part)],
        }
        offset += len(part)
        parts.append(part)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def from_bytes(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Arrays of a safetensors file (read-only views of `data`). Raises BadWeights or BundleTooLarge, nothing else."""
    if len(data) > MAX_BYTES:
        raise BundleTooLarge("weights.safetensors", len(data), MAX_BYTES)
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER:
        raise BundleTooLarge("the header of weights.safetensors", size, MAX_HEADER)
    if len(data) < 8 + size:
        raise BadWeights("weights.safetensors ends inside its header")
    header = parse_json(data[8 : 8 + size], "the header of weights.safetensors", BadWeights)
    if len(header) > MAX_TENSORS:
        raise BundleTooLarge("the number of tensors", len(header), MAX_TENSORS)
    body, start = memoryview(data)[8 + size :], 0
    tensors: dict[str, NDArray[np.generic]] = {}
    for name in sorted(header):
        dtype, shape = _entry(name, header[name], start)
        count = math.prod(shape)
        stop = start + count * dtype.itemsize
        if header[name]["data_offsets"] != [start, stop] or stop > len(body):
            raise BadWeights(f"tensor {name}: its offsets are not those of {dtype.name}{shape} in name order")
        tensors[name] = np.frombuffer(body[start:stop], dtype=dtype).reshape(shape)
        start = stop
    if start != len(body):
        raise BadWeights(f"weights.safetensors holds {len(body) - start} bytes that belong to no tensor")
    return tensors


def _entry(name: str, entry: Any, start: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape of one header entry, checked without trusting any of it."""
    if not (0 < len(name) <= MAX_NAME and name.isascii() and name.isprintable()):
        raise BadWeights("a tensor has a name that is empty, long or not printable ASCII")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadWeights(f"tensor {name}: needs dtype, shape, data_offsets and nothing else")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _TYPES:
        raise BadWeights(f"tensor {name}: type {str(code)[:20]} is not one of {', '.join(_TYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in numbers):
            raise BadWeights(f"tensor {name}: shape and offsets must be lists of integers from 0 to {MAX_BYTES}")
    if not 1 <= len(shape) <= 4 or 0 in shape:
        raise BadWeights(f"tensor {name}: needs one to four dimensions, none of them 0")
    if math.prod(shape) * np.dtype(_TYPES[code]).itemsize > MAX_BYTES - start:
        raise BundleTooLarge(f"tensor {name}", math.prod(shape), MAX_BYTES)
    return np.dtype(_TYPES[code]), tuple(shape)


def content_hash(tensors: Tensors) -> str:
    """SHA-256 over name, type, shape and little-endian bytes of every tensor, by name: 0x and 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        head = json.dumps([name, tensor.dtype.name, list(tensor.shape)], separators=(",", ":")).encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        digest.update(_raw(tensor))
    return "0x" + digest.hexdigest()


def _raw(tensor: NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<")).tobytes()


def copy_of(tensors: Tensors) -> Mapping[str, NDArray[np.generic]]:
    """Contiguous read-only copies in native byte order, aligned for BLAS."""
    copies: dict[str, NDArray[np.generic]] = {}
    for name in sorted(tensors):
        copies[name] = np.array(tensors[name], dtype=tensors[name].dtype.newbyteorder("="), order="C")
        copies[name].flags.writeable = False
    return copies
