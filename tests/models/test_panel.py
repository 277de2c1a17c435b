"""The panel: no look into the future, labels in their time, and a rebuilt panel that is the same to the last bit."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models.architectures import ARCHITECTURES
from models.bundle import Bundle, Manifest
from models.combine import Mixture, MixtureRule
from models.features import BURN_IN, FeatureSchema, latest
from models.forecast import LEVELS
from models.labels import labels
from models.panel import Panel, PanelError, track
from models.runtime import forecaster
from models.score import crps_from_quantiles

HOUR = 3600
US = 1_000_000
HORIZONS = (HOUR, 24 * HOUR)
WALK = FeatureSchema(("scale.24", "return.1"), 1, HOUR)
NET = FeatureSchema(("scale.24", "return.1", "volatility.8", "hour_sin.1"), 32, HOUR)
TREES = FeatureSchema(("scale.48", "return.1", "absolute.0", "volatility.8"), 2, HOUR)
UNIT = np.tile(norm.ppf(LEVELS), (2, 1))


def bundle(
    name: str, architecture: str, schema: FeatureSchema, parameters: Mapping[str, int], tensors: dict, **fields: object
) -> Bundle:
    manifest = {
        "name": name,
        "version": "1.0.0",
        "owner": "0x" + "11" * 20,
        "architecture": architecture,
        "parameters": parameters,
        "features": schema,
        "horizons": HORIZONS,
        "symbol": "EUR/USD",
        "data_roots": (),
        "seed": 0,
        "libraries": {},
        "licence": "AGPL-3.0-only",
    }
    return Bundle(Manifest(**(manifest | fields)), tensors)


def walk(name: str, quantiles: np.ndarray = UNIT, **fields: object) -> Bundle:
    return bundle(name, "random_walk.v1", WALK, {}, {"quantiles": np.asarray(quantiles, dtype=np.float64)}, **fields)


def tcn(name: str, seed: int) -> Bundle:
    rng = np.random.default_rng(seed)
    parameters = {"channels": 8, "levels": 5, "symmetric": 1}
    layout = ARCHITECTURES["tcn.v1"].layout(parameters, NET, 2)
    tensors = {n: rng.normal(0, 0.2, s.shape).astype(s.dtype) for n, s in layout.items()}
    return bundle(name, "tcn.v1", NET, parameters, tensors)


def forest(name: str, seed: int) -> Bundle:
    """One split per tree, two trees per output."""
    rng = np.random.default_rng(seed)
    outputs, trees = 8, 16
    tensors = {
        "feature": rng.integers(0, 6, (trees, 1)).astype(np.int16),
        "threshold": rng.normal(0, 1, (trees, 1)).astype(np.float32),
        "left": np.full((trees, 1), -1, dtype=np.int16),
        "right": np.full((trees, 1), -2, dtype=np.int16),
        "leaf": rng.uniform(0.1, 1.2, (trees, 2)),
        "output": np.repeat(np.arange(outputs, dtype=np.int16), 2),
    }
    return bundle(name, "forest.v1", TREES, {"trees": trees, "leaves": 2, "symmetric": 1}, tensors)


WALKS = [walk("narrow", 0.5 * UNIT), walk("plain"), walk("wide", 2.0 * UNIT), walk("shifted", UNIT + 0.4)]


def series(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hourly bars with weekends of 48 hours, single holes, and volatility that moves."""
    rng = np.random.default_rng(seed)
    hours = np.arange(3 * count + 200)
    open_hours = hours[(hours % 168 < 120) & (rng.random(len(hours)) > 0.03)][:count]
    volatility = 0.001 * np.exp(np.cumsum(rng.normal(0, 0.03, count)))
    return (open_hours.astype(np.int64) + 1) * HOUR * US, np.exp(np.cumsum(volatility * rng.standard_t(5, count)))


def test_step__future_perturbed__every_earlier_step_identical() -> None:
    ts, close = series(260)
    cut = 200
    changed = close.copy()
    changed[cut:] *= np.linspace(1.1, 3.0, len(close) - cut)

    def run(prices: np.ndarray) -> tuple[list[bytes], list[str]]:
        panel = Panel(WALKS, HORIZONS, HOUR)
        said, prints = [], []
        for i in range(100, 260):
            # the panel is handed the whole series: it must not look beyond `now` by itself
            step = panel.step(int(ts[i]), ts, prices)
            said.append(step.quantiles.tobytes() + step.weights.tobytes() + step.members.tobytes())
            prints.append(panel.fingerprint())
        return said, prints

    said, prints = run(close)
    other, other_prints = run(changed)
    assert said[: cut - 100] == other[: cut - 100] and prints[: cut - 100] == other_prints[: cut - 100]
    assert all(a != b for a, b in zip(said[cut - 100 :], other[cut - 100 :], strict=True))


def test_step__horizon_not_over__nothing_learnt_of_it() -> None:
    ts = (np.arange(200, dtype=np.int64) + 1) * HOUR * US
    close = np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.001, 200)))
    panel = Panel(WALKS, HORIZONS, HOUR)
    first = BURN_IN  # index of the first bar with features
    for i in range(200):
        panel.step(int(ts[i]), ts, close)
        learnt = (panel.mixture.state()["squares"] > 0).any(axis=(0, 2))
        assert learnt.tolist() == [i >= first + 1, i >= first + 24], i


def test_step__gaps_and_weekends__learns_exactly_the_known_outcomes_in_their_order() -> None:
    ts, close = series(330, seed=5)
    panel = Panel(WALKS, HORIZONS, HOUR)
    members = []
    for i in range(len(ts)):
        members.append(panel.step(int(ts[i]), ts, close).members)
    outcomes = labels(ts, close, HORIZONS, HOUR)
    plain = Mixture(MixtureRule(("random_walk",) * 4), 2)
    learnt = 0
    for m in range(len(ts)):
        for h, horizon in enumerate(HORIZONS):
            goals = ts[:m] + horizon * US
            for i in np.flatnonzero((goals <= ts[m]) & (goals > (ts[m - 1] if m else 0))):
                if np.isfinite(outcomes[i, h]) and np.isfinite(members[i]).all():
                    outcome = np.full(2, np.nan)
                    outcome[h] = outcomes[i, h]
                    plain.learn(members[i], outcome)
                    learnt += 1
    assert learnt > 300
    for name, value in plain.state().items():
        np.testing.assert_array_equal(panel.mixture.state()[name], value)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 219), max_size=12), st.integers(0, 150), st.integers(0, 3))
def test_warm_up__any_pattern_of_calls__same_panel_to_the_last_bit(calls: list[int], from_bar: int, seed: int) -> None:
    ts, close = series(220, seed)
    fresh = {"learn_from": int(ts[from_bar]), "stakes": (1.0, 2.0, None, 3.0), "max_family_share": 0.7}
    ran, rebuilt = Panel(WALKS, HORIZONS, HOUR, **fresh), Panel(WALKS, HORIZONS, HOUR, **fresh)
    known = 0
    for i in sorted(calls):
        tail = max(0, known - 3)  # a caller may leave out old bars, but not the last one that was taken in
        ran.step(int(ts[i]) + 5, ts[tail:], close[tail:])
        known = i
    rebuilt.warm_up(int(ts[-1]), ts, close)
    last, again = ran.step(int(ts[-1]), ts, close), rebuilt.step(int(ts[-1]), ts, close)
    assert ran.fingerprint() == rebuilt.fingerprint()
    assert last.quantiles.tobytes() == again.quantiles.tobytes()
    assert last.weights.tobytes() == again.weights.tobytes()


def test_warm_up__three_families_450_hours__same_to_the_bit_as_stepping() -> None:
    bundles = [walk("plain"), walk("wide", 1.5 * UNIT), forest("f1", 1), forest("f2", 2), tcn("n1", 1), tcn("n2", 2)]
    ts, close = series(600, seed=9)
    known = 580
    panels = [Panel(bundles, HORIZONS, HOUR, learn_from=int(ts[130])) for _ in range(2)]
    panels[0].warm_up(int(ts[known]), ts, close)
    for i in range(120, known + 1):
        panels[1].step(int(ts[i]), ts[: i + 1], close[: i + 1])
    assert panels[0].fingerprint() == panels[1].fingerprint()
    steps = [panel.step(int(ts[known]), ts, close) for panel in panels]
    assert steps[0].quantiles.tobytes() == steps[1].quantiles.tobytes()
    assert steps[0].awake.all()
    np.testing.assert_allclose(steps[0].weights.sum(axis=0), 1.0)


def test_step__members__are_what_each_bundle_says_alone_on_the_whole_window() -> None:
    bundles = [walk("plain"), forest("f1", 1), tcn("n1", 1), tcn("n2", 2)]
    ts, close = series(300, seed=2)
    panel = Panel(bundles, HORIZONS, HOUR)
    for i in (180, 181, 240, 299):
        step = panel.step(int(ts[i]), ts, close)
        for k, one in enumerate(bundles):
            window = latest(ts[: i + 1], close[: i + 1], one.manifest.features)
            np.testing.assert_allclose(step.members[k], forecaster(one).predict(window[None])[0], rtol=1e-4, atol=1e-7)


def test_step__before_any_window_stands__no_answer_and_then_one() -> None:
    ts, close = series(130)
    panel = Panel(WALKS, HORIZONS, HOUR)
    early = panel.step(int(ts[10]), ts, close)
    assert early.forecast.horizons == () and np.isnan(early.quantiles).all() and early.spot == close[10]
    assert not early.awake.any() and early.family_share_bps == (0, 0)
    late = panel.step(int(ts[-1]), ts, close)
    assert late.forecast.horizons == HORIZONS and late.family_share_bps == (10_000, 10_000)
    assert (np.diff(late.quantiles, axis=-1) >= 0).all() and late.ts == ts[-1]
    np.testing.assert_allclose(late.weights, panel.weights())


def test_step__absurd_bundle_and_one_without_the_horizon__sleep_and_the_rest_answer() -> None:
    ts, close = series(140)
    mad = walk("mad", 400 * UNIT)
    hourly = walk("hourly", UNIT[:1], horizons=(HOUR,))
    step = Panel([*WALKS, mad, hourly], HORIZONS, HOUR).step(int(ts[-1]), ts, close)
    assert step.awake.tolist() == [[True, True]] * 4 + [[False, False], [True, False]]
    assert np.isnan(step.members[5, 1]).all()
    alone = Panel(WALKS, HORIZONS, HOUR).step(int(ts[-1]), ts, close)
    assert np.isfinite(step.quantiles).all()
    np.testing.assert_allclose(step.quantiles[1], alone.quantiles[1], rtol=1e-12)


def test_step__reference__asked_without_a_weight() -> None:
    ts, close = series(140)
    reference = walk("yardstick", 1.1 * UNIT)
    step = Panel(WALKS, HORIZONS, HOUR, reference=reference).step(int(ts[-1]), ts, close)
    assert step.members.shape == (4, 2, 9) and step.weights.shape == (4, 2)
    assert step.reference is not None
    np.testing.assert_allclose(step.reference, 1.1 * step.members[1])
    inside = Panel(WALKS, HORIZONS, HOUR, reference=WALKS[2]).step(int(ts[-1]), ts, close)
    np.testing.assert_array_equal(inside.reference, inside.members[2])
    usual = Panel(WALKS, HORIZONS, HOUR).step(int(ts[-1]), ts, close)
    np.testing.assert_array_equal(usual.reference, usual.members[0])


def test_step__skill__is_that_of_what_was_said_at_the_time() -> None:
    ts, close = series(330, seed=4)
    panel = Panel([*WALKS, tcn("n1", 1)], HORIZONS, HOUR, reference=WALKS[1])
    found = track(panel, ts, close, int(ts[0]))
    last = panel.step(int(ts[-1]), ts, close).skill
    assert last is not None and last.skill.shape == last.count.shape == (6, 2)
    said = np.concatenate([found.quantiles[:, None], found.members], axis=1)
    for h in range(2):
        good = np.isfinite(found.outcomes[:, h]) & np.isfinite(found.reference[:, h]).all(axis=-1)
        own = crps_from_quantiles(found.outcomes[good, h, None], said[good, :, h]).mean(axis=0)
        theirs = crps_from_quantiles(found.outcomes[good, h], found.reference[good, h]).mean()
        assert last.count[:, h].tolist() == [good.sum()] * 6 and good.sum() > 100
        np.testing.assert_allclose(last.skill[:, h], 1.0 - own / theirs, rtol=1e-9, atol=1e-12)
    plain = Panel([tcn("n1", 1)], HORIZONS, HOUR).step(int(ts[-1]), ts, close).skill
    assert plain is not None and not plain.count.any() and np.isnan(plain.skill).all()


def test_fresh__of_a_used_panel__is_the_panel_before_its_first_bar() -> None:
    ts, close = series(160)
    given = {
        "learn_from": int(ts[110]),
        "stakes": (1.0, None, 2.0, 3.0),
        "max_family_share": 0.7,
        "reference": tcn("n", 1),
    }
    used, new = Panel(WALKS, HORIZONS, HOUR, **given), Panel(WALKS, HORIZONS, HOUR, **given)
    used.warm_up(int(ts[-1]), ts, close)
    again = used.fresh()
    assert again.fingerprint() == new.fingerprint() != used.fingerprint()
    again.warm_up(int(ts[-1]), ts, close)
    assert again.fingerprint() == used.fingerprint()


def test_track__steps_through_a_span__forecasts_beside_outcomes() -> None:
    ts, close = series(200)
    panel = Panel(WALKS, HORIZONS, HOUR)
    found = track(panel, ts, close, int(ts[120]), int(ts[180]))
    assert found.ts.tolist() == ts[120:181].tolist()
    assert found.quantiles.shape == (61, 2, 9) and found.members.shape == (61, 4, 2, 9)
    np.testing.assert_array_equal(found.outcomes, labels(ts, close, HORIZONS, HOUR)[120:181])
    np.testing.assert_array_equal(found.reference, found.members[:, 0])


def test_warm_up__past_changed_or_left_out__refused_and_panel_untouched() -> None:
    ts, close = series(150)
    panel = Panel(WALKS, HORIZONS, HOUR)
    panel.warm_up(int(ts[120]), ts, close)
    before = panel.fingerprint()
    changed = close.copy()
    changed[118] *= 1.01
    falling, broken = ts.copy(), close.copy()
    falling[130], broken[130] = falling[129], np.nan
    missing = np.delete(np.arange(150), 110)
    for bad, message in [
        ((ts, changed), "have changed"),
        ((ts[missing], close[missing]), "have changed"),
        ((ts[121:], close[121:]), "taken in last"),
        ((falling, close), "rise in time"),
        ((ts, broken), "finite positive"),
        ((ts, close[:-1]), r"closes"),
    ]:
        with pytest.raises(PanelError, match=message):
            panel.warm_up(int(ts[-1]), *bad)
    assert panel.fingerprint() == before
    with pytest.raises(PanelError, match="no bar is known"):
        Panel(WALKS, HORIZONS, HOUR).step(0, ts, close)


@pytest.mark.parametrize(
    ("bundles", "horizons", "width", "message"),
    [
        ([], HORIZONS, HOUR, "at least one"),
        (WALKS, (), HOUR, "rising"),
        (WALKS, (7200, 3600), HOUR, "rising"),
        ([WALKS[0], WALKS[0]], HORIZONS, HOUR, "given twice"),
        (WALKS, HORIZONS, 60, "reads bars of 3600 s"),
        (WALKS, (7200,), HOUR, "narrow forecasts"),
        ([*WALKS, walk("other", symbol="BTC/USD")], HORIZONS, HOUR, "several symbols"),
    ],
)
def test_panel__bundles_that_do_not_fit__named(
    bundles: list[Bundle], horizons: tuple[int, ...], width: int, message: str
) -> None:
    with pytest.raises(PanelError, match=message):
        Panel(bundles, horizons, width)
