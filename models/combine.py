"""Many experts, one forecast: online aggregation that learns who is good from what came true.

Why this file exists: the bundles at one operator disagree; their pooled quantiles are what the operator signs.
Never in it: model inference, time, labels (`panel.py` says what came true and when), calibration.

`MLPol` is the polynomially weighted average forecaster with one learning rate per expert (Gaillard, Stoltz and van
Erven 2014, "A second-order bound with excess losses"), in the form with an adaptive bound of Gaillard's thesis (2015):
the weight of expert k is proportional to eta_k * max(R_k, 0), 1/eta_k = sum of r_k^2 + B, B = the largest r^2 seen.
`Mixture` runs one on the gradient of the pinball loss for every level of every horizon (CRPS learning, Berrisch and
Ziel 2021). Everything is deterministic; the state is three plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.forecast import LEVELS, FloatArray

BoolArray = NDArray[np.bool_]


def priors_from_stake(stakes: Sequence[float | None]) -> FloatArray:
    """Prior weights from stakes: proportional, an unknown stake (None) counting as the median of the known ones.

    Nothing known (all None, or all zero) gives equal weights. Returns (K,), sum 1.

    >>> priors_from_stake([3.0, 1.0, None]).round(6).tolist()
    [0.5, 0.166667, 0.333333]
    """
    known = [s for s in stakes if s is not None]
    if not stakes or any(not np.isfinite(s) or s < 0.0 for s in known):
        raise ValueError(f"stakes must be finite and at least 0, got {list(stakes)}")
    fill = float(np.median(known)) if known else 1.0
    filled = np.array([fill if s is None else s for s in stakes], dtype=np.float64)
    total = float(filled.sum())
    return filled / total if total > 0.0 else np.full(len(stakes), 1.0 / len(stakes))


class MLPol:
    """K experts on a grid of independent problems, one regret and one learning rate per expert and problem.

    Arrays are (K, *grid). `prior` (K,) weighs experts until something is learnt and stays a factor of the potential
    afterwards (equal by default: then this is the published rule). `bound`: what |r| is known not to exceed; 0 lets
    the rule find it (the published adaptive form). With a true bound and b = bound^2 the regret against expert k is
    at most sqrt((b + S_k) / prior_k * sum_j prior_j * (1 + ln(1 + S_j / b))), S_k = sum of r_k^2 (theorem 5 of the
    paper with its first rate set to 1 / b).
    """

    def __init__(self, experts: int, grid: tuple[int, ...], prior: FloatArray | None = None, bound: float = 0.0):
        if experts < 1:
            raise ValueError(f"at least one expert is needed, got {experts}")
        self.prior: FloatArray = np.full(experts, 1.0 / experts) if prior is None else _checked_prior(prior, experts)
        self.regret: FloatArray = np.zeros((experts, *grid))
        self.squares: FloatArray = np.zeros((experts, *grid))
        self.ceiling: FloatArray = np.full(grid, float(bound) ** 2)

    def weights(self, awake: BoolArray) -> FloatArray:
        """Weights on the simplex of the awake experts, (K, *grid); all zero where nobody is awake.

        Where no awake expert has a positive regret the prior decides.
        """
        learnt = self._potential(awake)
        total = learnt.sum(axis=0)
        cold = np.where(awake, _columns(self.prior, awake.ndim), 0.0)
        chosen = np.where(total > 0.0, learnt, cold)
        mass = chosen.sum(axis=0)
        # a prior may give nothing to everyone who is awake: then they share equally
        chosen = np.where((mass == 0.0) & awake, 1.0, chosen)
        mass = chosen.sum(axis=0)
        share: FloatArray = chosen / np.where(mass > 0.0, mass, 1.0)
        return share

    def informed(self, awake: BoolArray) -> BoolArray:
        """Where some awake expert has a positive regret, that is where weights are learnt and not the prior. (*grid)"""
        known: BoolArray = (self._potential(awake) > 0.0).any(axis=0)
        return known

    def learn(self, gains: FloatArray) -> None:
        """Takes in one round: `gains` (K, *grid) = loss of the mixture minus loss of each expert.

        0 for a sleeping expert or an unanswered problem: then neither its regret nor its sum of squares moves.
        """
        if gains.shape != self.regret.shape or not np.isfinite(gains).all():
            raise ValueError(f"gains must be finite of shape {self.regret.shape}, got shape {gains.shape}")
        square = gains * gains
        self.regret += gains
        self.squares += square
        np.maximum(self.ceiling, square.max(axis=0), out=self.ceiling)

    def state(self) -> dict[str, FloatArray]:
        """A copy of everything learnt: `prior` (K,), `regret` and `squares` (K, *grid), `ceiling` (*grid)."""
        return {name: getattr(self, name).copy() for name in ("prior", "regret", "squares", "ceiling")}

    @classmethod
    def from_state(cls, state: Mapping[str, FloatArray]) -> Self:
        """The learner that `state()` described, to the last bit. ValueError if the arrays do not fit together."""
        prior, regret, squares, ceiling = (
            np.array(state[name], dtype=np.float64) for name in ("prior", "regret", "squares", "ceiling")
        )
        if regret.shape != squares.shape or regret.shape[1:] != ceiling.shape or prior.shape != regret.shape[:1]:
            raise ValueError("saved arrays do not belong to one learner: their shapes differ")
        if not all(np.isfinite(a).all() for a in (regret, squares, ceiling)) or min(squares.min(), ceiling.min()) < 0:
            raise ValueError("saved arrays hold values that no learner can reach")
        learner = cls(regret.shape[0], ceiling.shape, _checked_prior(prior, regret.shape[0]))
        learner.prior, learner.regret, learner.squares, learner.ceiling = prior, regret, squares, ceiling
        return learner

    def _potential(self, awake: BoolArray) -> FloatArray:
        """The prior * eta * max(R, 0) of the awake: the weights before they are made to sum to 1."""
        positive = awake & (self.regret > 0.0)
        rate = np.where(positive, self.squares + self.ceiling, 1.0)
        return np.where(positive, _columns(self.prior, awake.ndim) * self.regret / rate, 0.0)


def _columns(values: FloatArray, ndim: int) -> FloatArray:
    """`values` (K,) as (K, 1, ..., 1) with `ndim` axes."""
    return values.reshape(-1, *[1] * (ndim - 1))


def _checked_prior(prior: FloatArray, experts: int) -> FloatArray:
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != (experts,) or not np.isfinite(values).all() or values.min() < 0.0 or values.sum() <= 0.0:
        raise ValueError(f"a prior is {experts} finite weights of at least 0 with a positive sum, got {prior}")
    return values if values.sum() == 1.0 else values / values.sum()


def aggregate_square(experts: FloatArray, outcomes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """MLpol for point forecasts on the gradient of the square loss, one pass in time.

    `experts` (T, K), NaN where an expert sleeps; `outcomes` (T,), each learnt after its own round.
    Returns predictions (T,) (NaN where all sleep) and weights (T, K).
    """
    rounds, count = experts.shape
    learner = MLPol(count, ())
    predictions, weights = np.full(rounds, np.nan), np.zeros((rounds, count))
    for t in range(rounds):
        awake = np.isfinite(experts[t])
        if not awake.any():
            continue
        said = np.where(awake, experts[t], 0.0)
        weights[t] = learner.weights(awake)
        predictions[t] = weights[t] @ said
        slope = 2.0 * (predictions[t] - outcomes[t])
        learner.learn(np.where(awake, slope * (predictions[t] - said), 0.0))
    return predictions, weights


@dataclass(frozen=True, slots=True)
class MixtureRule:
    """What an operator fixes about the pooling; nothing here is learnt.

    `families`: one name per expert. `stakes`: one per expert for the cold start, None = unknown; `stakes=None` =
    nothing known: until something is learnt the forecast is the median of the awake members, level by level.
    `max_family_share`: no family's weight exceeds this share at any level (1.0 = no limit; where fewer families are
    awake than that allows, they share equally). `bound`: no quantile may exceed it in absolute log return.
    `field_ratio`: with three or more experts, one whose largest quantile exceeds this many times the field's median
    largest quantile sleeps.
    """

    families: tuple[str, ...]
    stakes: tuple[float | None, ...] | None = None
    max_family_share: float = 1.0
    bound: float = 1.0
    field_ratio: float = 10.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if not self.families:
            raise ValueError("families: a mixture needs at least one expert")
        if self.stakes is not None and len(self.stakes) != len(self.families):
            raise ValueError(f"stakes: {len(self.stakes)} given for {len(self.families)} experts")
        if not 0.0 < self.max_family_share <= 1.0:
            raise ValueError(f"max_family_share: must be in (0, 1], got {self.max_family_share}")
        if not (self.bound > 0.0 and self.field_ratio > 1.0):
            raise ValueError("bound must be above 0 and field_ratio above 1")


@dataclass(frozen=True, slots=True)
class Pooled:
    """One pooled forecast. `quantiles` (H, L): non-decreasing, NaN rows where no expert was fit to speak.

    `weights` (K, H, L): what each expert counted, sum 1 over K (0 in unanswered rows). `awake` (K, H).
    """

    quantiles: FloatArray
    weights: FloatArray
    awake: BoolArray


class Mixture:
    """K experts' quantiles of H horizons pooled level by level, with weights learnt from outcomes."""

    def __init__(self, rule: MixtureRule, horizons: int, levels: Sequence[float] = LEVELS):
        self.rule = rule
        self.levels: FloatArray = np.asarray(levels, dtype=np.float64)
        prior = None if rule.stakes is None else priors_from_stake(rule.stakes)
        self.learner = MLPol(len(rule.families), (horizons, len(self.levels)), prior)
        names = sorted(set(rule.families))
        self._family: BoolArray = np.array([[f == name for f in rule.families] for name in names], dtype=np.bool_)

    def state(self) -> dict[str, FloatArray]:
        """Everything learnt, as plain arrays."""
        return self.learner.state()

    @classmethod
    def from_state(cls, rule: MixtureRule, state: Mapping[str, FloatArray], levels: Sequence[float] = LEVELS) -> Self:
        """The mixture that `state()` described, to the last bit. ValueError if the state is not of this rule."""
        learner = MLPol.from_state(state)
        if learner.regret.ndim != 3 or learner.regret.shape[::2] != (len(rule.families), len(levels)):
            raise ValueError(f"saved state of shape {learner.regret.shape} is not of {len(rule.families)} experts")
        mixture = cls(rule, learner.regret.shape[1], levels)
        mixture.learner = learner
        return mixture

    def fit_to_speak(self, members: FloatArray) -> BoolArray:
        """Range checks before pooling. `members` (K, H, L) -> (K, H): finite, non-decreasing, within the rule."""
        with np.errstate(invalid="ignore"):
            size = np.abs(members).max(axis=-1)
            fit = np.isfinite(members).all(axis=-1) & (np.diff(members, axis=-1) >= 0.0).all(axis=-1)
            fit &= size <= self.rule.bound
        for h in range(members.shape[1]):
            field = size[fit[:, h], h]
            if len(field) >= 3:
                fit[:, h] &= size[:, h] <= self.rule.field_ratio * float(np.median(field))
        return np.asarray(fit, dtype=np.bool_)

    def pool(self, members: FloatArray, awake: BoolArray | None = None) -> Pooled:
        """Pools `members` (K, H, L); `awake` (K, H) False where an expert has nothing to say (its values are ignored).

        Each level is a weighted mean inside the members' range; crossings are repaired by sorting, which keeps that
        and never raises the total pinball loss (Chernozhukov, Fernandez-Val and Galichon 2010).
        """
        said, fit = self._heard(members, awake)
        weights = self._capped(self._learnt_weights(said, fit), fit)
        quantiles = np.sort(_weighted(weights, said, fit), axis=-1)
        quantiles[~fit.any(axis=0)] = np.nan
        return Pooled(quantiles, weights, fit)

    def learn(self, members: FloatArray, outcome: FloatArray, awake: BoolArray | None = None) -> None:
        """Learns from what came true: `outcome` (H,) log returns, NaN where there is none to learn from.

        `members`, `awake` as they were when the forecast was made. The regret is taken against what today's weights
        (before the family limit) make of those members, so the published bound holds for any delay, counted over
        the outcomes in the order they were learnt. Gradient of the pinball loss at the pooled quantile p:
        1{y < p} - tau, and r_k = gradient * (p - q_k).
        """
        said, fit = self._heard(members, awake)
        known = np.isfinite(outcome)
        pooled = _weighted(self._learnt_weights(said, fit), said, fit)
        slope = (np.where(known, outcome, 0.0)[:, None] < pooled) - self.levels
        heard = (fit & known)[..., None]
        self.learner.learn(np.where(heard, slope * (pooled - said), 0.0))

    def mean_weights(self, weights: FloatArray) -> FloatArray:
        """`weights` (K, H, L) averaged over levels: (K, H)."""
        averaged: FloatArray = weights.mean(axis=-1)
        return averaged

    def family_shares(self, weights: FloatArray) -> FloatArray:
        """Largest share of one model family per horizon, (H,), mean over levels."""
        largest: FloatArray = np.einsum("fk,kh->fh", self._family.astype(np.float64), weights.mean(axis=-1)).max(axis=0)
        return largest

    def _heard(self, members: FloatArray, awake: BoolArray | None) -> tuple[FloatArray, BoolArray]:
        """Members with unfit rows set to 0, and who is fit (K, H)."""
        if members.shape != self.learner.regret.shape:
            raise ValueError(f"members must have shape {self.learner.regret.shape}, got {members.shape}")
        fit = self.fit_to_speak(members if awake is None else np.where(awake[..., None], members, np.nan))
        return np.where(fit[..., None], members, 0.0), fit

    def _learnt_weights(self, said: FloatArray, fit: BoolArray) -> FloatArray:
        awake = np.broadcast_to(fit[..., None], said.shape)
        weights = self.learner.weights(awake)
        if self.rule.stakes is None:
            weights = np.where(self.learner.informed(awake), weights, _median_weights(said, awake))
        return weights

    def _capped(self, weights: FloatArray, fit: BoolArray) -> FloatArray:
        """Weights with no family above its share; the excess goes to the other awake families in proportion."""
        present = (self._family[:, :, None] & fit).any(axis=1)
        limit = np.maximum(self.rule.max_family_share, 1.0 / np.maximum(present.sum(axis=0), 1))
        share = np.einsum("fk,khl->fhl", self._family.astype(np.float64), weights)
        if (share <= limit[:, None]).all():
            return weights
        target = _water_filled(share, present, limit)
        # inside a family: as learnt, or equally where the family had nothing
        awake = np.broadcast_to(fit[..., None], weights.shape)
        capped = np.zeros_like(weights)
        for f, mine in enumerate(self._family):
            inside = np.where(share[f] > 0.0, weights, awake & (share[f] == 0.0)) * mine[:, None, None]
            mass = inside.sum(axis=0)
            capped += inside / np.where(mass > 0.0, mass, 1.0) * target[f]
        return capped


def _weighted(weights: FloatArray, said: FloatArray, fit: BoolArray) -> FloatArray:
    """Weighted mean over experts (H, L), clipped to the range of the awake members against rounding."""
    awake = fit[..., None]
    low = np.where(awake, said, np.inf).min(axis=0)
    high = np.where(awake, said, -np.inf).max(axis=0)
    pooled: FloatArray = np.minimum(np.maximum((weights * said).sum(axis=0), low), high)
    return np.where(fit.any(axis=0)[:, None], pooled, 0.0)


def _median_weights(said: FloatArray, awake: BoolArray) -> FloatArray:
    """The median of the awake members written as weights: 1 on the middle one, or a half on each of the two."""
    order = np.argsort(np.where(awake, said, np.inf), axis=0, kind="stable")
    rank = np.argsort(order, axis=0, kind="stable")
    count = awake.sum(axis=0)
    middle = ((rank == (count - 1) // 2).astype(np.float64) + (rank == count // 2)) / 2.0
    return np.where(awake, middle, 0.0)


def _water_filled(share: FloatArray, present: BoolArray, limit: FloatArray) -> FloatArray:
    """Family shares (F, H, L) brought under `limit` (H,): who is over is held there, the rest grows in proportion."""
    target, full = share.copy(), np.zeros(share.shape, dtype=np.bool_)
    room_for = np.broadcast_to(present[..., None], share.shape)
    for _ in range(len(share)):
        over = (target > limit[:, None]) & ~full
        if not over.any():
            break
        full |= over
        target = np.where(full, limit[:, None], target)
        free = room_for & ~full
        base = np.where(free, target, 0.0)
        base = np.where(base.sum(axis=0) > 0.0, base, free)
        total = base.sum(axis=0)
        left = 1.0 - np.where(full, target, 0.0).sum(axis=0)
        grown = base / np.where(total > 0.0, total, 1.0) * left
        touched = full.any(axis=0) & free
        target = np.where(touched, grown, target)
    return target
