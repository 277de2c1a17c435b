"""The feeds of a deployment plan, and the check that each is what its author thinks it is.

Why this file exists: decimals and bounds are numbers without a unit, and a wrong power of ten looks as good as a right
one. So the author of a price feed states what it is worth today, in the quote's own unit, and the spec must agree.
Never in it: a chain (`verify.py` compares the stated value with a live feed where the plan names one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from eth_utils.address import is_checksum_address, to_checksum_address

from contracts import constant_int
from oracle.chain.faces import Face
from oracle.consensus.network import FeedId, FeedKind, FeedSpec
from oracle.errors import BadFeedSpec, ConfigError
from oracle.settings import Table

ZERO = "0x" + "00" * 20
ADDRESS_ALLOWED = "an address of 0x and 40 hex digits, with its checksum if it has capitals"
YEAR = 366 * 86_400
PPM_MAX = 2**32 - 1
MAX_FEEDS = 128
MAX_DECIMALS = 36
FINEST = 10_000
"""Least reference value in units of the feed: below it one step of the answer is more than a basis point."""
DEFAULT_SPAN, LEAST_SPAN, WIDEST_SPAN = 100, 2, 1_000
"""Bounds lie this many times under and over the reference: by default, at the nearest, at the furthest."""
TEXT = r"[!-~]([ -~]{0,30}[!-~])?"
TEXT_ALLOWED = "1 to 32 printable ASCII characters without a space at the ends, or 0x and 64 hex digits"
REFERENCE_ALLOWED = 'a positive decimal number as text in the unit of the quote, e.g. "1.0832"'
FACES_OF = {
    FeedKind.PRICE: (Face.FEED, Face.STRICT, Face.POSITIVE),
    FeedKind.FORECAST: (Face.FEED, Face.STRICT, Face.FORECAST),
    FeedKind.EVENT: (Face.FEED, Face.STRICT, Face.EVENT),
}
"""Faces that fit a kind; the factory refuses others."""


@dataclass(frozen=True, slots=True)
class ChosenFace:
    """A face of a feed that the plan wants: which, and the component where it shows one (else 0)."""

    face: Face
    component: int

    def __str__(self) -> str:
        """As a plan writes it: `Feed`, `ForecastFeed:4`."""
        return f"{self.face.contract}:{self.component}" if self.face.of_component else self.face.contract


@dataclass(frozen=True, slots=True)
class ListedFeed:
    """One feed of the plan: its spec, faces and proxies to make, and what it was held against.

    `reference`: the stated value of a price at the feed's decimals, 0 for other kinds. `reference_feed`: a live
    AggregatorV3 feed that has to say the same to `within` ppm at the time of the deployment.
    """

    spec: FeedSpec
    faces: tuple[ChosenFace, ...]
    proxies: tuple[ChosenFace, ...]
    reference: int
    reference_feed: str | None
    within: int

    def stated(self) -> dict[str, Any]:
        """Every value by name, for the hash of the plan."""
        fields: dict[str, Any] = asdict(self.spec) | {"kind": self.spec.kind.name.lower()}
        fields |= {"reference": self.reference, "reference_feed": self.reference_feed, "within": self.within}
        return fields | {"faces": list(map(str, self.faces)), "proxies": list(map(str, self.proxies))}


def read_address(table: Table, key: str) -> str:
    """An address, with its checksum (EIP-55) checked where its letters are of both cases. Raises ConfigError."""
    text = table.text(key, r"0x[0-9a-fA-F]{40}", ADDRESS_ALLOWED)
    mixed = text[2:] not in (text[2:].lower(), text[2:].upper())
    if mixed and not is_checksum_address(text):
        raise table.fail(key, text, ADDRESS_ALLOWED, "Its checksum is wrong: copy the address again.")
    if text == ZERO:
        raise table.fail(key, text, "an address that somebody holds", "Nobody holds the zero address.")
    return to_checksum_address(text)


def read_feeds(top: Table) -> tuple[ListedFeed, ...]:
    """The `[[feeds]]` tables, by number. Raises ConfigError."""
    feeds: dict[int, ListedFeed] = {}
    taken: dict[int, int] = {}
    for table in top.tables("feeds", MAX_FEEDS):
        feed = _feed(table)
        lanes = range(feed.spec.number, feed.spec.number + 1 + feed.spec.is_vector)
        for lane in lanes:
            if lane in taken:
                allowed = "numbers that no other feed of the plan takes (a forecast or event also takes the next one)"
                raise table.fail("number", feed.spec.number, allowed, f"Feed {taken[lane]} has lane {lane}.")
            taken[lane] = feed.spec.number
        feeds[feed.spec.number] = feed
    return tuple(feeds[number] for number in sorted(feeds))


def _feed(table: Table) -> ListedFeed:
    kind = FeedKind[table.choice("kind", [kind.name.lower() for kind in FeedKind]).upper()]
    number = table.integer("number", 0, constant_int("MAX_FEED_NUMBER"))
    outcomes = table.integer("outcomes", 2, constant_int("MAX_OUTCOMES")) if kind is FeedKind.EVENT else 0
    decimals = {FeedKind.PRICE: None, FeedKind.FORECAST: 6, FeedKind.EVENT: 0}[kind]
    places = table.integer("decimals", 0, MAX_DECIMALS, decimals)
    if decimals is not None and places != decimals:
        raise table.fail("decimals", places, f"{decimals} for this kind", "Remove it.")
    reference, feed, within = _reference(table, places) if kind is FeedKind.PRICE else (0, None, 0)
    low, high = _bounds(table, kind, reference, outcomes)
    dispersion = table.integer("max_dispersion", 1, PPM_MAX)
    try:
        spec = FeedSpec(
            number=FeedId(number), kind=kind, decimals=places, outcomes=outcomes,
            base=_text32(table, "base"),
            quote=bytes(32) if kind is FeedKind.EVENT else _text32(table, "quote"),
            horizon=table.integer("horizon", 1, YEAR) if kind is FeedKind.FORECAST else 0,
            heartbeat=table.integer("heartbeat", 1, YEAR),
            deviation=table.integer("deviation", 1, PPM_MAX),
            min_value=low, max_value=high, max_dispersion=dispersion,
            jump=table.integer("jump", 1, PPM_MAX),
            veto_band=table.integer("veto_band", min(2 * dispersion, PPM_MAX), PPM_MAX),
            min_sources=table.integer("min_sources", 1, 64),
            min_observers=table.integer("min_observers", 1, constant_int("MAX_VALIDATORS")),
            max_family_share=table.integer("max_family_share", 1, constant_int("BPS")),
            methodology=_text32(table, "methodology"), sources=_text32(table, "sources"),
        )  # fmt: skip
    except BadFeedSpec as error:
        raise ConfigError(f"{table.file}: {table.name}: {error}; mend this table", given=error.given) from error
    faces = _faces(table, "faces", spec, ("Feed",))
    proxies = _faces(table, "proxies", spec, ())
    for face in proxies:
        if face not in faces:
            raise table.fail("proxies", str(face), "faces of this feed", f'Add "{face}" to faces.')
    table.finish()
    return ListedFeed(spec, faces, proxies, reference, feed, within)


def _reference(table: Table, decimals: int) -> tuple[int, str | None, int]:
    text = table.text("reference", r"[0-9]{1,40}(\.[0-9]{1,40})?", REFERENCE_ALLOWED)
    with localcontext() as context:
        context.prec = 120
        try:
            units = int(Decimal(text).scaleb(decimals))
        except InvalidOperation as error:
            raise table.fail("reference", text, REFERENCE_ALLOWED) from error
    if units < FINEST:
        allowed = f"a value of at least {FINEST} units at {decimals} decimals"
        mend = f"It is {units}: one step would be more than a basis point. Raise decimals, or mend the reference."
        raise table.fail("reference", text, allowed, mend)
    if not table.has("reference_feed"):
        return units, None, 0
    return units, read_address(table, "reference_feed"), table.integer("within", 1, 500_000, 50_000)


def _bounds(table: Table, kind: FeedKind, reference: int, outcomes: int) -> tuple[int, int]:
    if kind is FeedKind.EVENT:
        return 0, outcomes - 1
    if kind is FeedKind.FORECAST:
        return table.integer("min_value", -(2**24), -1), table.integer("max_value", 1, 2**24)
    found = []
    spans: Iterator[tuple[str, int, int, int]] = iter((
        ("min_value", reference // DEFAULT_SPAN, -(-reference // WIDEST_SPAN), reference // LEAST_SPAN),
        ("max_value", reference * DEFAULT_SPAN, reference * LEAST_SPAN, reference * WIDEST_SPAN),
    ))  # fmt: skip
    for key, default, low, high in spans:
        value = _big(table, key) if table.has(key) else default
        if not low <= value <= high:
            allowed = f"{low} to {high}, {LEAST_SPAN} to {WIDEST_SPAN} times away from the reference of {reference}"
            mend = "Bounds catch a wrong power of ten, not a crash: check decimals, reference and this bound."
            raise table.fail(key, value, allowed, mend)
        found.append(value)
    if found[1] >= 2**127:
        raise table.fail("max_value", found[1], "less than 2^127", "Lower decimals.")
    return found[0], found[1]


def _big(table: Table, key: str) -> int:
    return int(table.text(key, r"[0-9]{1,39}", 'a whole number at the feed\'s decimals, as text, e.g. "117000000"'))


def _text32(table: Table, key: str) -> bytes:
    text = table.text(key, rf"0x[0-9a-fA-F]{{64}}|{TEXT}", TEXT_ALLOWED)
    if len(text) == 66:
        return bytes.fromhex(text[2:])
    return text.encode("ascii").ljust(32, b"\0")


def _faces(table: Table, key: str, spec: FeedSpec, default: tuple[str, ...]) -> tuple[ChosenFace, ...]:
    known = {}
    for face in FACES_OF[spec.kind]:
        for component in range(spec.width if face.of_component else 1):
            chosen = ChosenFace(face, component)
            known[str(chosen)] = chosen
    allowed = f"of {', '.join(known)}"
    return tuple(known[text] for text in table.names(key, "|".join(known), allowed, len(known), default))
