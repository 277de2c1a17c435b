"""Online aggregation: the published figures, the invariants of a mixture, and what absurd members cannot do."""

import doctest
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import combine
from models.combine import Mixture, MixtureRule, MLPol, aggregate_square, priors_from_stake
from models.forecast import LEVELS
from models.score import pinball

FAST = settings(max_examples=40, deadline=None)
LEVEL_COUNT = len(LEVELS)
REPOSITORY = Path(__file__).resolve().parents[2]


def members_of(rng: np.random.Generator, experts: int, horizons: int, scale: float = 0.01) -> np.ndarray:
    """Random members (K, H, 9), each non-decreasing and within the field's range checks."""
    spread = scale * rng.uniform(0.5, 2.0, (experts, horizons, 1))
    shape = np.sort(rng.uniform(-1.0, 1.0, (experts, horizons, LEVEL_COUNT)), axis=-1)
    shape[..., 0], shape[..., -1] = -1.0, 1.0
    return spread * shape


def trained(rule: MixtureRule, seed: int, rounds: int, horizons: int = 2) -> Mixture:
    rng = np.random.default_rng(seed)
    mixture = Mixture(rule, horizons)
    for _ in range(rounds):
        outcome = np.where(rng.random(horizons) < 0.2, np.nan, rng.normal(0, 0.008, horizons))
        awake = rng.random((len(rule.families), horizons)) < 0.8
        mixture.learn(members_of(rng, len(rule.families), horizons), outcome, awake)
    return mixture


SEED = st.integers(0, 2**32 - 1)
RULES = st.integers(1, 6).flatmap(
    lambda k: st.builds(
        MixtureRule,
        families=st.tuples(*[st.sampled_from(["walk", "forest", "tcn"])] * k),
        stakes=st.none() | st.tuples(*[st.none() | st.floats(0.0, 100.0)] * k),
        max_family_share=st.sampled_from([1.0, 0.6, 0.4, 0.1]),
    )
)


def test_formulas__doctests__hold() -> None:
    assert doctest.testmod(combine).failed == 0


def test_aggregate_square__french_load__reproduces_the_published_table(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.environ.get("DODONA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / "expert_mix_fr_load.csv.gz"
    if not path.exists():
        pytest.skip(f"the published expert forecasts are not at {path}: set DODONA_SHARED_DATA to their folder")
    import pandas as pd

    frame = pd.read_csv(path)
    load = frame["load_mw"].to_numpy(dtype=np.float64)
    experts = frame.filter(like="expert_").to_numpy(dtype=np.float64)
    assert experts.shape == (398, 65)
    predictions, weights = aggregate_square(experts, load)

    def mape(said: np.ndarray) -> float:
        return float(np.mean(np.abs(said - load) / load) * 100)

    assert round(mape(predictions), 3) == 1.383
    assert round(float(np.sqrt(np.mean((predictions - load) ** 2)))) == 1057
    assert round(mape(experts.mean(axis=1)), 3) == 2.340
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)


@FAST
@given(RULES, SEED, st.integers(0, 30))
def test_pool__any_history__weights_on_the_simplex_and_quantiles_inside_the_members(
    rule: MixtureRule, seed: int, rounds: int
) -> None:
    mixture = trained(rule, seed, rounds)
    rng = np.random.default_rng(seed ^ 1)
    members = members_of(rng, len(rule.families), 2)
    awake = rng.random((len(rule.families), 2)) < 0.7
    pooled = mixture.pool(members, awake)
    assert not (pooled.awake & ~awake).any()
    assert (pooled.weights >= 0).all() and (pooled.weights[~pooled.awake] == 0).all()
    for h in range(2):
        mine = members[pooled.awake[:, h], h]
        if not len(mine):
            assert np.isnan(pooled.quantiles[h]).all()
            continue
        np.testing.assert_allclose(pooled.weights[:, h].sum(axis=0), 1.0, atol=1e-12)
        assert (np.diff(pooled.quantiles[h]) >= 0).all()
        assert (pooled.quantiles[h] >= mine.min(axis=0)).all() and (pooled.quantiles[h] <= mine.max(axis=0)).all()
        present = {f for f, a in zip(rule.families, pooled.awake[:, h], strict=True) if a}
        limit = max(rule.max_family_share, 1 / len(present))
        for name in present:
            share = pooled.weights[[f == name for f in rule.families], h].sum(axis=0)
            assert (share <= limit + 1e-9).all()


@FAST
@given(SEED, st.integers(2, 5), st.integers(1, 25))
def test_learn__expert_asleep_throughout__the_others_learn_as_if_it_were_not_there(
    seed: int, experts: int, rounds: int
) -> None:
    rng = np.random.default_rng(seed)
    with_sleeper = Mixture(MixtureRule(("a",) * experts, field_ratio=1e9), 1)
    without = Mixture(MixtureRule(("a",) * (experts - 1), field_ratio=1e9), 1)
    awake = np.ones((experts, 1), dtype=bool)
    awake[0] = False
    for _ in range(rounds):
        members, outcome = members_of(rng, experts, 1), rng.normal(0, 0.01, 1)
        with_sleeper.learn(members, outcome, awake)
        without.learn(members[1:], outcome)
    members = members_of(rng, experts, 1)
    np.testing.assert_allclose(
        with_sleeper.pool(members, awake).weights[1:], without.pool(members[1:]).weights, atol=1e-12
    )


@FAST
@given(SEED, st.integers(1, 25), st.integers(1, 25))
def test_learn__expert_falls_asleep__its_regret_and_squares_stand_still(seed: int, before: int, after: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = Mixture(MixtureRule(("a", "b", "c")), 2)
    for _ in range(before):
        mixture.learn(members_of(rng, 3, 2), rng.normal(0, 0.01, 2))
    kept = mixture.state()
    awake = np.array([[False, False], [True, True], [True, True]])
    for _ in range(after):
        members = members_of(rng, 3, 2)
        members[0] = np.nan
        mixture.learn(members, rng.normal(0, 0.01, 2), awake)
    now = mixture.state()
    np.testing.assert_array_equal(now["regret"][0], kept["regret"][0])
    np.testing.assert_array_equal(now["squares"][0], kept["squares"][0])


@FAST
@given(SEED, st.integers(2, 8), st.integers(1, 300), st.booleans())
def test_learn__bounded_losses__regret_within_the_theorem(seed: int, experts: int, rounds: int, drift: bool) -> None:
    rng = np.random.default_rng(seed)
    prior = rng.uniform(0.2, 1.0, experts)
    prior /= prior.sum()
    learner, ours, theirs, bound = MLPol(experts, (), prior, bound=1.0), 0.0, np.zeros(experts), 1.0
    tau = 0.3
    for t in range(rounds):
        said = np.sort(rng.random(experts))
        outcome = (t / rounds + rng.random()) / 2 if drift else rng.random()
        awake = np.ones(experts, dtype=bool)
        pooled = float(learner.weights(awake) @ said)
        ours += float(pinball(outcome, [pooled], [tau])[0])
        theirs += np.maximum(tau * (outcome - said), (tau - 1) * (outcome - said))
        learner.learn(((outcome < pooled) - tau) * (pooled - said))
    squares = learner.squares
    pot = float((prior * (1 + np.log1p(squares / bound))).sum())
    limits = np.sqrt((bound + squares) / prior * pot)
    assert (ours - theirs <= limits + 1e-9).all()


def test_learn__one_good_expert__takes_nearly_all_weight() -> None:
    rng = np.random.default_rng(5)
    mixture = Mixture(MixtureRule(("good", "wide", "shifted")), 1)
    from scipy.stats import norm

    good = 0.01 * norm.ppf(LEVELS)
    members = np.stack([good, 3 * good, good + 0.02])[:, None, :]
    for _ in range(1500):
        mixture.learn(members, rng.normal(0, 0.01, 1))
    weights = mixture.pool(members).weights.mean(axis=-1)[:, 0]
    assert weights[0] > 0.8, weights


def test_pool__nothing_known__is_the_median_of_the_members() -> None:
    rng = np.random.default_rng(2)
    for count in (3, 4):
        members = members_of(rng, count, 2)
        pooled = Mixture(MixtureRule(("a",) * count), 2).pool(members)
        np.testing.assert_allclose(pooled.quantiles, np.median(members, axis=0), atol=1e-15)


def test_pool__stakes_known_and_nothing_learnt__weights_are_the_stakes() -> None:
    members = members_of(np.random.default_rng(2), 3, 1)
    pooled = Mixture(MixtureRule(("a", "b", "c"), stakes=(6.0, 2.0, None)), 1).pool(members)
    np.testing.assert_allclose(pooled.weights[:, 0, 0], [0.5, 1 / 6, 1 / 3])


@pytest.mark.parametrize("poison", ["nan", "inf", "crossing", "huge", "beyond the field", "1e308"])
def test_pool__absurd_expert__sleeps_and_moves_nothing(poison: str) -> None:
    rng = np.random.default_rng(7)
    members = members_of(rng, 4, 1)
    bad = members.copy()
    bad[0, 0] = {
        "nan": np.where(np.arange(9) == 4, np.nan, bad[0, 0]),
        "inf": np.where(np.arange(9) == 8, np.inf, bad[0, 0]),
        "crossing": bad[0, 0, ::-1],
        "huge": 2000 * bad[0, 0],
        "beyond the field": 60 * bad[0, 0],
        "1e308": np.full(9, 1e308),
    }[poison]
    mixture, clean = Mixture(MixtureRule(("a",) * 4), 1), Mixture(MixtureRule(("a",) * 3), 1)
    for _ in range(5):
        outcome = rng.normal(0, 0.01, 1)
        mixture.learn(bad, outcome)
        clean.learn(members[1:], outcome)
    pooled = mixture.pool(bad)
    assert not pooled.awake[0, 0]
    np.testing.assert_allclose(pooled.quantiles, clean.pool(members[1:]).quantiles, atol=1e-15)


def test_pool__one_family_would_dominate__held_at_its_share() -> None:
    rng = np.random.default_rng(9)
    rule = MixtureRule(("forest", "forest", "walk", "tcn"), stakes=(40.0, 50.0, 9.0, 1.0), max_family_share=0.5)
    mixture = Mixture(rule, 1)
    pooled = mixture.pool(members_of(rng, 4, 1))
    np.testing.assert_allclose(pooled.weights[:, 0, 0], [0.5 * 4 / 9, 0.5 * 5 / 9, 0.45, 0.05])
    np.testing.assert_allclose(mixture.family_shares(pooled.weights), [0.5])


@FAST
@given(RULES, SEED, st.integers(0, 20))
def test_state__saved_and_restored__goes_on_to_the_last_bit(rule: MixtureRule, seed: int, rounds: int) -> None:
    mixture = trained(rule, seed, rounds)
    saved = mixture.state()
    twin = Mixture.from_state(rule, {k: np.frombuffer(v.tobytes()).reshape(v.shape) for k, v in saved.items()})
    rng = np.random.default_rng(seed ^ 3)
    for _ in range(5):
        members, outcome = members_of(rng, len(rule.families), 2), rng.normal(0, 0.01, 2)
        mixture.learn(members, outcome)
        twin.learn(members, outcome)
    for name, value in mixture.state().items():
        assert value.tobytes() == twin.state()[name].tobytes()
    assert mixture.pool(members).quantiles.tobytes() == twin.pool(members).quantiles.tobytes()


def test_from_state__arrays_of_another_mixture__refused() -> None:
    state = Mixture(MixtureRule(("a", "b")), 1).state()
    with pytest.raises(ValueError, match="not of 3 experts"):
        Mixture.from_state(MixtureRule(("a", "b", "c")), state)
    with pytest.raises(ValueError, match="no learner can reach"):
        Mixture.from_state(MixtureRule(("a", "b")), state | {"regret": np.full((2, 1, 9), np.nan)})
    with pytest.raises(ValueError, match="shapes differ"):
        Mixture.from_state(MixtureRule(("a", "b")), state | {"squares": np.zeros((2, 2, 9))})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"families": ()}, "families"),
        ({"families": ("a",), "stakes": (1.0, 2.0)}, "stakes"),
        ({"families": ("a",), "max_family_share": 0.0}, "max_family_share"),
        ({"families": ("a",), "bound": 0.0}, "bound"),
    ],
)
def test_rule__senseless_field__named_in_the_error(fields: dict, named: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=named):
        MixtureRule(**fields)


def test_priors_from_stake__nothing_known__equal() -> None:
    assert priors_from_stake([None, None]).tolist() == [0.5, 0.5]
    assert priors_from_stake([0.0, 0.0]).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="at least 0"):
        priors_from_stake([-1.0])
