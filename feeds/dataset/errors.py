"""How a data set says no: the branch of `FeedError` for manifests, proofs and packing.

Why this file exists: whatever a stranger's manifest, proof or file holds, a caller sees a value or one of these (or
`MalformedFile`, `MissingData`, `BadRule` of `feeds.sources.source`). Never in it: behaviour.

    FeedError
    ├── MalformedManifest   a manifest that is not one, or not in its canonical form
    ├── MalformedProof      a proof file that is not one
    ├── WrongProof          a proof, or a list of chunks, that does not lead to the root
    ├── UnsupportedData     bytes of a kind that is not read here, or beyond a limit
    └── WrongRows           rows that are not those of the manifest
"""

from __future__ import annotations

from feeds.sources.source import FeedError


class MalformedManifest(FeedError):
    """`field` of a manifest is `given`, which breaks `limit`."""

    def __init__(self, field: str, given: object, limit: str) -> None:
        """Keep the field, the value given and the limit."""
        self.field, self.given, self.limit = field, given, limit
        mend = "ask the provider for a sound manifest, or pack the data again"
        super().__init__(f"manifest: {field} is {shown(given)}, must be {limit}; {mend}")


class MalformedProof(FeedError):
    """`field` of a proof is `given`, which breaks `limit`."""

    def __init__(self, field: str, given: object, limit: str) -> None:
        """Keep the field, the value given and the limit."""
        self.field, self.given, self.limit = field, given, limit
        super().__init__(f"proof: {field} is {shown(given)}, must be {limit}; ask for the proof again")


class WrongProof(FeedError):
    """What should lead to the root `wanted` leads to `given`, or to nothing."""

    def __init__(self, what: str, given: object, wanted: object) -> None:
        """Keep what was checked, what came out and what should have."""
        self.what, self.given, self.wanted = what, given, wanted
        mend = "it is of other rows, or was changed: take it from the provider again"
        super().__init__(f"{what}: is {shown(given)}, wanted {shown(wanted)}; {mend}")


class UnsupportedData(FeedError):
    """The file `name` holds what is not read here, or more than the limit."""

    def __init__(self, name: str, reason: str, mend: str) -> None:
        """Keep the file's name and the reason."""
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}; {mend}")


class WrongRows(FeedError):
    """Rows at `where` are not those that the manifest's root is over."""

    def __init__(self, where: str, reason: str) -> None:
        """Keep where and why."""
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}; fetch it again, and see with `dodona data verify` which chunks are sound")


def shown(value: object) -> str:
    """The value as text of bounded length."""
    text = value if isinstance(value, str) else repr(value)[:200]
    return repr(text[:80] + "...") if len(text) > 80 else repr(text) if isinstance(value, str) else text
