"""A training recipe from a TOML file, every setting ranged and accounted for.

Why this file exists: `dodona model train` takes a modeller's own recipe, and a typing error in it must be one line, not
a bundle that is not what was meant. Never in it: fitting (`models/train.py`), the demo's recipes (`models/recipes.py`).
"""

from __future__ import annotations

from pathlib import Path

from models.features import FeatureError, FeatureSchema
from models.recipes import DEMO_RECIPES, HOUR
from models.train import Recipe
from oracle.errors import ConfigError
from oracle.settings import Table, read_toml

NAME = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
MAX_HORIZON = 31 * 86_400
Range = tuple[int, int] | tuple[float, float] | tuple[str, ...]
FOREST: dict[str, Range] = {
    "symmetric": (0, 1), "learning_rate": (1e-5, 1.0), "leaves": (2, 255), "rounds": (1, 5_000), "least": (1, 100_000),
    "share": (0.01, 1.0), "patience": (1, 1_000),
}  # fmt: skip
TCN: dict[str, Range] = {
    "channels": (1, 256), "levels": (1, 9), "symmetric": (0, 1), "learning_rate": (1e-6, 1.0), "epochs": (1, 1_000),
    "batch": (1, 65_536), "dropout": (0.0, 0.9), "weight_decay": (0.0, 10.0), "patience": (1, 1_000),
}  # fmt: skip
SETTINGS: dict[str, dict[str, Range]] = {
    "random_walk": {"kind": ("gaussian", "empirical")},
    "forest": FOREST,
    "tcn": TCN,
}
"""What each family's fit takes, with its bounds."""


def load_recipe(given: str) -> Recipe:
    """The demo's recipe of that name, or the recipe in the TOML file at that path. Raises ConfigError."""
    named = {recipe.name: recipe for recipe in DEMO_RECIPES}
    if given in named:
        return named[given]
    path = Path(given)
    if not path.exists():
        raise ConfigError(f"{given}: no recipe; give a TOML file, or one of {', '.join(named)}", given=given)
    top = Table(path, "", read_toml(path))
    family = top.choice("family", tuple(SETTINGS))
    settings = top.table("settings")
    recipe = Recipe(
        name=top.text("name", NAME, "small letters, digits and `-` (at most 64)"),
        owner=top.text("owner", r"0x[0-9a-fA-F]{40}", "an address, 0x and 40 hex digits"),
        family=family,
        features=_features(top.table("features")),
        horizons=_horizons(top),
        settings={key: _setting(settings, key, bounds) for key, bounds in SETTINGS[family].items()},
        seed=top.integer("seed", 0, 2**31 - 1),
        version=top.text("version", r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}", "a version such as 1.0.0", "1.0.0"),
        licence=top.text("licence", r"[ -~]{1,64}", "the licence of the weights, e.g. CC-BY-4.0"),
        folds=top.integer("folds", 1, 20, 3),
        valid_share=top.number("valid_share", 0.01, 0.4, 0.15),
        embargo=top.integer("embargo", 0, MAX_HORIZON, 86_400),
    )
    settings.finish()
    top.finish()
    return recipe


def _features(table: Table) -> FeatureSchema:
    names = table.names("names", r"[a-z_]{1,20}(\.[0-9]{1,4})?", "a feature such as volatility.24", 64)
    window, width = table.integer("window", 1, 512, 1), table.integer("width", 1, 86_400, HOUR)
    table.finish()
    try:
        return FeatureSchema(names, window, width)
    except FeatureError as error:
        raise table.fail("names", list(names), f"what the schema allows ({error})") from error


def _horizons(top: Table) -> tuple[int, ...]:
    horizons = top.integers("horizons", 1, MAX_HORIZON, 8)
    if not horizons or list(horizons) != sorted(set(horizons)):
        raise top.fail("horizons", list(horizons), "one or more rising numbers of seconds")
    return horizons


def _setting(table: Table, key: str, bounds: Range) -> int | float | str:
    low = bounds[0]
    if isinstance(low, str):
        return table.choice(key, tuple(str(choice) for choice in bounds))
    if isinstance(low, int):
        return table.integer(key, low, int(bounds[1]))
    return table.number(key, low, float(bounds[1]))
