"""Some chunks of a data set with what it takes to check them: a file of its own, and a pure check.

Why this file exists: a dispute is about a few rows, and whoever checks them, a person or a contract, should not need
the rest. Any bytes give proven rows or an error. Never in it: files, keys.

A proof is canonical JSON: the manifest, the number of the first chunk, each chunk's leaf record (hex) and canonical
bytes (base64), and the sibling hashes in the order of `contracts/core/merkle.vy`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from eth_utils.crypto import keccak

from feeds.dataset.canonical import canonical, parse_canonical
from feeds.dataset.encoding import decode_chunk, encode_chunk
from feeds.dataset.errors import MalformedProof, WrongProof
from feeds.dataset.manifest import Manifest, parse_manifest
from feeds.dataset.merkle import HASH_BYTES, LEAF_BYTES, MAX_CHUNKS, Leaf, leaf_hash, multiproof, root_from_multiproof
from feeds.dataset.pack import span_of
from feeds.dataset.read import DataSet, check_leaf, check_root
from feeds.sources.source import BadRule, MalformedFile

FORMAT = "dodona.proof.v1"
MAX_PROVEN = 256
"""Most chunks in one proof."""
MAX_PROOF = 256 << 20
"""Most bytes of a proof."""
_FIELDS = {"format", "manifest", "first", "leaves", "chunks", "siblings"}


@dataclass(frozen=True, slots=True)
class Proof:
    """Consecutive chunks from number `first` on: leaf records, canonical bytes, and the siblings of the multiproof."""

    manifest: Manifest
    first: int
    leaves: tuple[bytes, ...]
    chunks: tuple[bytes, ...]
    siblings: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """The file: canonical JSON and a line end."""
        fields = {
            "format": FORMAT,
            "manifest": self.manifest.as_json(),
            "first": self.first,
            "leaves": [leaf.hex() for leaf in self.leaves],
            "chunks": [base64.b64encode(chunk).decode() for chunk in self.chunks],
            "siblings": [sibling.hex() for sibling in self.siblings],
        }
        return canonical(fields) + b"\n"


@dataclass(frozen=True, slots=True)
class ProvenRows:
    """Rows that the root covers: `rows` from number `first_row` on, of the data set that `manifest` describes."""

    manifest: Manifest
    first_row: int
    rows: pa.Table


def prove(dataset: DataSet, numbers: range) -> Proof:
    """The proof of consecutive chunks. Raises `BadRule` for none or too many, and as `DataSet.chunk`."""
    if not (0 < len(numbers) <= MAX_PROVEN and numbers[0] >= 0 and numbers[-1] < len(dataset.leaves)):
        given = f"{numbers.start}:{numbers.stop}"
        raise BadRule("chunks to prove", given, f"1 to {MAX_PROVEN} of 0:{len(dataset.leaves)}")
    schema = dataset.manifest.schema
    records = [leaf.pack() for leaf in dataset.leaves]
    encoded = tuple(
        encode_chunk(schema, dataset.leaves[number].first_row, rows)
        for number, rows in zip(numbers, dataset.chunks(numbers), strict=True)
    )
    siblings = multiproof([leaf_hash(record) for record in records], numbers)
    return Proof(dataset.manifest, numbers[0], tuple(records[n] for n in numbers), encoded, siblings)


def check_proof(proof: Proof, root: str | None = None) -> ProvenRows:
    """The rows, if they lead to the manifest's root, and that is `root` where one is wanted. Pure.

    Raises `WrongProof` if they do not, `MalformedProof` for chunks that are not canonical bytes of the schema. Who
    signed the manifest is another question (`oracle.data_signature`).
    """
    manifest = proof.manifest
    if root is not None and manifest.root != root:
        raise WrongProof("root of the proof's manifest", manifest.root, root)
    if not 0 < len(proof.leaves) == len(proof.chunks) <= MAX_PROVEN:
        raise MalformedProof("chunks", len(proof.chunks), f"as many as leaves, 1 to {MAX_PROVEN}")
    hashes = {proof.first + place: leaf_hash(leaf) for place, leaf in enumerate(proof.leaves)}
    check_root("proof", root_from_multiproof(manifest.chunks, hashes, proof.siblings), manifest)
    parts = []
    for number, record, data in zip(hashes, proof.leaves, proof.chunks, strict=True):
        leaf = Leaf.unpack(record)
        check_leaf(number, leaf, manifest)
        if keccak(data) != leaf.content:
            raise WrongProof(f"chunk {number}", keccak(data).hex(), leaf.content.hex())
        first_row, rows = decode_chunk(manifest.schema, data)
        if (first_row, rows.num_rows) != (leaf.first_row, leaf.rows):
            raise WrongProof(
                f"chunk {number}", f"rows {first_row} + {rows.num_rows}", f"{leaf.first_row} + {leaf.rows}"
            )
        _check_known(number, leaf, rows, manifest)
        parts.append(rows)
    return ProvenRows(manifest, proof.first * manifest.chunk_rows, pa.Table.from_batches(parts))


def _check_known(number: int, leaf: Leaf, rows: pa.RecordBatch, manifest: Manifest) -> None:
    if manifest.known is None:
        return
    try:
        span = span_of(rows, manifest.known)
    except MalformedFile as error:
        raise WrongProof(f"chunk {number}: known", error.reason, leaf.known) from error
    if span != leaf.known:
        raise WrongProof(f"chunk {number}: known", span, leaf.known)


def parse_proof(data: bytes) -> Proof:
    """A proof from the bytes of its file, not yet checked. Raises `MalformedProof`, `MalformedManifest`."""
    try:
        raw = parse_canonical(data.removesuffix(b"\n"), MAX_PROOF)
    except ValueError as error:
        raise MalformedProof("file", f"{error}", f"canonical JSON of at most {MAX_PROOF} bytes") from error
    if not isinstance(raw, dict) or raw.keys() != _FIELDS or raw["format"] != FORMAT:
        raise MalformedProof("format", raw.get("format") if isinstance(raw, dict) else None, FORMAT)
    first = raw["first"]
    if type(first) is not int or not 0 <= first < MAX_CHUNKS:
        raise MalformedProof("first", first, "the number of a chunk")
    leaves = _hashes("leaves", raw["leaves"], LEAF_BYTES, MAX_PROVEN)
    siblings = _hashes("siblings", raw["siblings"], HASH_BYTES, 2 * (MAX_CHUNKS.bit_length() + 1))
    chunks = _texts("chunks", raw["chunks"], MAX_PROVEN)
    try:
        decoded = tuple(base64.b64decode(chunk, validate=True) for chunk in chunks)
    except (binascii.Error, ValueError) as error:
        raise MalformedProof("chunks", f"{error}", "base64") from error
    return Proof(parse_manifest(canonical(raw["manifest"])), first, leaves, decoded, siblings)


def _texts(field: str, given: Any, most: int) -> list[str]:
    if not isinstance(given, list) or len(given) > most or not all(isinstance(text, str) for text in given):
        raise MalformedProof(field, type(given).__name__, f"a list of at most {most} texts")
    return given


def _hashes(field: str, given: Any, size: int, most: int) -> tuple[bytes, ...]:
    texts = _texts(field, given, most)
    try:
        found = tuple(bytes.fromhex(text) for text in texts)
    except ValueError as error:
        raise MalformedProof(field, f"{error}", "hexadecimal") from error
    if any(len(value) != size or value.hex() != text for value, text in zip(found, texts, strict=True)):
        raise MalformedProof(field, "a value of another length or form", f"{size} bytes in lower-case hexadecimal")
    return found
