"""The demo's bundles: three owners, three families, genuinely different settings.

Why this file exists: `dodona demo` and the examples train these. Never in it: fitting code.
"""

from __future__ import annotations

from models.features import FeatureSchema
from models.train import Recipe

HOUR = 3_600
DEMO_HORIZONS = (HOUR, 24 * HOUR)
"""One hour and one day, in seconds."""

OWNERS = {
    "aletheia": "0xa1e7000000000000000000000000000000000001",
    "boreas": "0xb0ea000000000000000000000000000000000002",
    "chronos": "0xc480000000000000000000000000000000000003",
}
"""Three modellers of the demo: name -> owner address."""

CLOCK = "hour_sin.1 hour_cos.1 week_sin.1 week_cos.1"


def _recipe(name: str, seed: int, window: int, names: str, settings: dict[str, int | float | str]) -> Recipe:
    """A recipe named owner-family-rest; `names`: features, separated by spaces."""
    owner, kind = name.split("-")[:2]
    family = {"walk": "random_walk"}.get(kind, kind)
    schema = FeatureSchema(tuple(names.split()), window, HOUR)
    return Recipe(name, OWNERS[owner], family, schema, DEMO_HORIZONS, settings, seed)


DEMO_RECIPES: tuple[Recipe, ...] = (
    _recipe("aletheia-walk-fast", 1, 1, "scale.24 level", {"kind": "empirical"}),
    _recipe("boreas-walk-slow", 2, 1, "scale.200 level", {"kind": "empirical"}),
    _recipe("chronos-walk-normal", 3, 1, "scale.72 level", {"kind": "gaussian"}),
    _recipe(
        "aletheia-forest",
        4,
        1,
        "scale.96 volatility.3 volatility.12 volatility.24 absolute.0 absolute.22 absolute.23 range.24 "
        f"{CLOCK} season level gap",
        {
            "symmetric": 1,
            "learning_rate": 0.03,
            "leaves": 7,
            "rounds": 400,
            "least": 60,
            "share": 0.7,
            "patience": 40,
        },
    ),
    _recipe(
        "chronos-forest",
        5,
        2,
        "scale.200 volatility.6 volatility.48 absolute.0 absolute.23 range.12 return.1 return.24 "
        "hour_sin.1 hour_cos.1 hour_sin.2 hour_cos.2 season gap",
        {
            "symmetric": 0,
            "learning_rate": 0.05,
            "leaves": 5,
            "rounds": 300,
            "least": 120,
            "share": 0.5,
            "patience": 30,
        },
    ),
    _recipe(
        "boreas-tcn",
        6,
        8,
        "scale.200 volatility.3 volatility.12 volatility.48 absolute.0 absolute.22 absolute.23 "
        f"hour_sin.2 hour_cos.2 {CLOCK} season level gap",
        {
            "channels": 24,
            "levels": 3,
            "symmetric": 1,
            "learning_rate": 1e-3,
            "epochs": 40,
            "batch": 64,
            "dropout": 0.2,
            "weight_decay": 0.1,
            "patience": 8,
        },
    ),
    _recipe(
        "chronos-tcn",
        7,
        32,
        f"scale.96 absolute.0 volatility.6 volatility.24 return.1 {CLOCK} season gap",
        {
            "channels": 16,
            "levels": 5,
            "symmetric": 1,
            "learning_rate": 2e-3,
            "epochs": 40,
            "batch": 128,
            "dropout": 0.1,
            "weight_decay": 0.01,
            "patience": 6,
        },
    ),
)
"""Seven bundles, of three families, for three owners."""


def reference_walk(symbol: str, width: int, horizons: tuple[int, ...]) -> Recipe:
    """The walk that skill is measured against: Gaussian, EWMA volatility with a half-life of 72 bars of `width` s."""
    schema = FeatureSchema(("scale.72", "level"), 1, width)
    name = f"reference-walk-{symbol.replace('/', '').lower()}"
    return Recipe(name, OWNERS["chronos"], "random_walk", schema, horizons, {"kind": "gaussian"}, 0)
