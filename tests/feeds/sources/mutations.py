"""What a JSON answer becomes in bad hands: still JSON but not what the API promises, or not JSON any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

ODD_LEAVES = (
    None, True, False, 0, -1, 1e308, -1e308, 10**70, "", "NaN", "Infinity", "1e999", "\u0000", "é" * 300, "0x10", [],
    {}, [[]], "1,5", " 1", "١", -0.0, 5e-324, "null", 2**63, 1_678_500_000, "2023-13-45T99:99:99Z",
)  # fmt: skip
"""Values put in the place of any other."""


def mutate_json(body: bytes, rng: Random) -> bytes:
    """One to three changes to the document: a leaf replaced, a key lost, renamed or doubled, a list cut or grown."""
    document = json.loads(body)
    for _ in range(rng.randint(1, 3)):
        holders = list(_holders(document))
        if not holders:
            return json.dumps(rng.choice(ODD_LEAVES)).encode()
        _change(rng.choice(holders), rng)
    return json.dumps(document, allow_nan=True).encode()


def mutate_bytes(body: bytes, rng: Random) -> bytes:
    """A few bytes replaced, dropped, doubled or put in."""
    data = bytearray(body)
    for _ in range(rng.randint(1, 5)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.randint(0, 6))
        data[start:end] = rng.choice((b"", b"\xff", b"\x00", b'"', b"}", b"[", b"1e999", b"NaN", data[start:end] * 2))
    return bytes(data)


def _holders(value: object) -> Iterator[dict[str, object] | list[object]]:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _change(holder: dict[str, object] | list[object], rng: Random) -> None:
    if isinstance(holder, list):
        at = rng.randrange(len(holder))
        way = rng.randrange(5)
        if way == 0:
            del holder[at]
        elif way == 1:
            holder.insert(at, holder[at])
        elif way == 2:
            rng.shuffle(holder)
        elif way == 3:
            holder.extend(holder[at : at + 1] * 500)
        else:
            holder[at] = rng.choice(ODD_LEAVES)
        return
    key = rng.choice(sorted(holder))
    way = rng.randrange(5)
    if way == 0:
        del holder[key]
    elif way == 1:
        holder[key.upper() + "_"] = holder.pop(key)
    else:
        holder[key] = rng.choice((*ODD_LEAVES, float("nan"), float("inf")))
