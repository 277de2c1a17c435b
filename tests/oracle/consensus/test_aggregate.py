from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.consensus.aggregate import (
    aggregate,
    aggregate_feed,
    isotonic,
    leading,
    rescale,
    weighted_median,
    weighted_medians,
)
from oracle.consensus.messages import FeedObservation, Observation
from oracle.consensus.network import FeedKind
from oracle.consensus.simulate_world import small_feed
from oracle.consensus.words import (
    FLAG_DISPERSION,
    FLAG_FAMILY,
    FLAG_FINAL,
    FLAG_INVALID,
    FLAG_OUT_OF_BOUNDS,
    FLAG_TURNOUT,
    FLAG_VECTOR,
    page_words,
    unpack_vector,
    unpack_word,
)
from tests.strategies.consensus import CONFIG, SLOT, feed_observations, observations

PRICE, FORECAST, EVENT = (small_feed(4, kind, 60) for kind in FeedKind)
pairs = st.lists(st.tuples(st.integers(1, 2**96), st.integers(-(2**127), 2**127 - 1)), min_size=1, max_size=64)
few = st.lists(st.tuples(st.integers(1, 5), st.integers(-9, 9)), min_size=1, max_size=8)


@given(st.one_of(pairs, few))
def test_weighted_median__any_weights__agrees_with_brute_force(case):
    total = sum(weight for weight, _ in case)
    below = {value: sum(w for w, v in case if v <= value) for _, value in case}
    lower = min(value for value in below if 2 * below[value] >= total)
    upper = min(value for value in below if 2 * below[value] > total)
    assert weighted_medians(case) == (lower, upper)
    assert weighted_median(case) == (lower + upper) // 2


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-9, 9)), min_size=1, max_size=6))
def test_weighted_median__small_weights__is_the_median_of_repeated_values(case):
    repeated = sorted(value for weight, value in case for _ in range(weight))
    middle = len(repeated) // 2
    low = repeated[middle - 1] if len(repeated) % 2 == 0 else repeated[middle]
    assert weighted_medians(case) == (low, repeated[middle])


def test_weighted_median__midpoint_of_negatives__rounds_down():
    assert weighted_median([(1, -4), (1, -1)]) == -3
    with pytest.raises(ValueError, match="positive weight"):
        weighted_median([])


@given(few, few)
def test_weighted_median__less_than_half_lies__stays_within_the_honest(honest, liars):
    lying = sum(weight for weight, _ in liars)
    honest = [(weight + lying, value) for weight, value in honest]
    assert min(v for _, v in honest) <= weighted_median(honest + liars) <= max(v for _, v in honest)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
def test_isotonic__any_sequence__is_the_max_min_formula_rounded_down(values):
    n = len(values)

    def mean(a, b):
        return Fraction(sum(values[a : b + 1]), b - a + 1)

    exact = [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    found = isotonic(values)
    assert list(found) == [part.numerator // part.denominator for part in exact]
    assert list(found) == sorted(found)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=16))
def test_rescale__any_parts__sums_exactly_and_moves_less_than_one(parts):
    scaled, total = rescale(parts), sum(parts)
    assert sum(scaled) == 10_000
    if total:
        assert all(abs(Fraction(part * 10_000, total) - new) < 1 for part, new in zip(parts, scaled, strict=True))
    else:
        assert max(scaled) - min(scaled) <= 1


def test_leading__tie__is_the_lowest():
    assert leading((0, 5_000, 5_000)) == 1


def seen_price(value, **more):
    return FeedObservation(PRICE.number, value, more.pop("confidence", 0), sources=more.pop("sources", 1), **more)


def flags_of(spec, seen, total=100):
    return aggregate_feed(spec, seen, total).flags & ~FLAG_VECTOR


def test_feed__four_agree__is_valid_with_their_confidence():
    seen = [(25, seen_price(value, confidence=3)) for value in (1_000, 1_002, 1_004, 1_006)]
    result = aggregate_feed(PRICE, seen, 100)
    assert (result.value, result.confidence, result.turnout, result.flags) == (1_003, 3, 10_000, 0)


def test_feed__reported_confidences_small__confidence_is_the_deviation():
    seen = [(1, seen_price(value)) for value in (90, 100, 110)]
    assert aggregate_feed(PRICE, seen, 3).confidence == 10


def test_feed__nobody_saw_it__is_zero_and_invalid():
    result = aggregate_feed(FORECAST, [], 100)
    assert (result.value, result.turnout, result.components) == (0, 0, (0,) * 9)
    assert result.flags == FLAG_INVALID | FLAG_TURNOUT | FLAG_VECTOR


@pytest.mark.parametrize(("stake", "flags"), [(66, FLAG_INVALID | FLAG_TURNOUT), (67, 0)])
def test_feed__observing_stake__needs_more_than_two_thirds(stake, flags):
    assert flags_of(PRICE, [(stake, seen_price(100))]) == flags


@pytest.mark.parametrize(
    ("bitmaps", "flags"),
    [
        ((0b11, 0b11, 0b11), 0),
        ((0b01, 0b10, 0b00), 0),
        ((0b01, 0b01, 0b01), FLAG_INVALID | FLAG_TURNOUT),
        ((0, 0, 0), FLAG_INVALID | FLAG_TURNOUT),
    ],
)
def test_feed__fewer_than_two_sources_that_a_third_names__is_invalid(bitmaps, flags):
    seen = [(30, seen_price(100, sources=bitmap)) for bitmap in bitmaps]
    assert flags_of(replace(PRICE, min_sources=2), seen, 90) == flags


def test_feed__source_named_by_less_than_a_third__does_not_count():
    seen = [(34, seen_price(100, sources=1)), (33, seen_price(100, sources=1)), (33, seen_price(100, sources=2))]
    assert flags_of(replace(PRICE, min_sources=2), seen) == FLAG_INVALID | FLAG_TURNOUT


@pytest.mark.parametrize(("least", "flags"), [(3, 0), (4, FLAG_INVALID | FLAG_TURNOUT)])
def test_feed__fewer_observers_than_the_feed_asks_for__is_invalid_whatever_their_stake(least, flags):
    seen = [(30, seen_price(100)) for _ in range(3)]
    assert flags_of(replace(PRICE, min_observers=least), seen, 90) == flags


@pytest.mark.parametrize(("share", "flags"), [(6_000, 0), (6_001, FLAG_INVALID | FLAG_FAMILY)])
def test_feed__one_model_family_above_its_share__is_invalid(share, flags):
    seen = [(40, seen_price(100, family_share=share)), (30, seen_price(100)), (30, seen_price(100, family_share=9_000))]
    assert flags_of(replace(PRICE, max_family_share=6_000), seen) == flags


def test_dispersion__relative_for_prices__flags_above_the_limit_only():
    spec = replace(PRICE, max_dispersion=10_000)
    seen = [(1, seen_price(value)) for value in (990, 1_000, 1_010)]
    assert flags_of(spec, seen, 3) == 0
    seen = [(1, seen_price(value)) for value in (989, 1_000, 1_011)]
    assert flags_of(spec, seen, 3) == FLAG_INVALID | FLAG_DISPERSION


def test_dispersion__negative_price__uses_its_size():
    spec = replace(PRICE, max_dispersion=10_000)
    assert flags_of(spec, [(1, seen_price(value)) for value in (-990, -1_000, -1_010)], 3) == 0


def test_dispersion__forecast_and_event__is_absolute():
    spec = replace(FORECAST, max_dispersion=9)
    seen = [(1, FeedObservation(4, level, 0, sources=1, components=(level,) * 9)) for level in (0, 9, 18)]
    assert flags_of(spec, seen, 3) == 0
    assert flags_of(replace(spec, max_dispersion=8), seen, 3) == FLAG_INVALID | FLAG_DISPERSION
    seen = [(1, FeedObservation(4, 0, 0, sources=1, components=(yes, 10_000 - yes))) for yes in (6_000, 6_100, 6_200)]
    assert flags_of(replace(EVENT, max_dispersion=10_000), seen, 3) == 0
    assert flags_of(replace(EVENT, max_dispersion=9_999), seen, 3) == FLAG_INVALID | FLAG_DISPERSION


@pytest.mark.parametrize(
    ("value", "runs", "flags"),
    [
        (1_000, (5, 5, 5), 0),
        (1_001, (4, 4, 4), FLAG_INVALID | FLAG_OUT_OF_BOUNDS),
        (1_001, (5, 5, 0), FLAG_OUT_OF_BOUNDS),
        (1_001, (5, 0, 0), FLAG_INVALID | FLAG_OUT_OF_BOUNDS),
        (1_001, (-9, -9, -9), FLAG_INVALID | FLAG_OUT_OF_BOUNDS),
        (-1_001, (-5, -5, 127), FLAG_OUT_OF_BOUNDS),
        (-1_001, (-5, 5, 5), FLAG_INVALID | FLAG_OUT_OF_BOUNDS),
    ],
)
def test_bounds__outside__invalid_until_five_slots_on_that_side(value, runs, flags):
    spec = replace(PRICE, min_value=-1_000, max_value=1_000)
    assert flags_of(spec, [(1, seen_price(value, outside_run=run)) for run in runs], 3) == flags


def test_bounds__outside_for_long_but_dispersed__stays_invalid():
    spec = replace(PRICE, max_value=1_000, max_dispersion=1)
    seen = [(1, seen_price(value, outside_run=9)) for value in (2_000, 3_000, 4_000)]
    assert flags_of(spec, seen, 3) == FLAG_INVALID | FLAG_OUT_OF_BOUNDS | FLAG_DISPERSION


def outcome(yes, resolved):
    return FeedObservation(
        4, leading((yes, 10_000 - yes)), 0, sources=1, components=(yes, 10_000 - yes), resolved=resolved
    )


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ([(67, outcome(10_000, True)), (33, outcome(10_000, False))], FLAG_FINAL),
        ([(66, outcome(10_000, True)), (34, outcome(10_000, False))], 0),
        ([(50, outcome(10_000, True)), (30, outcome(10_000, True)), (20, outcome(0, True))], FLAG_FINAL),
        ([(60, outcome(10_000, True)), (40, outcome(0, True))], 0),
    ],
)
def test_final__more_than_two_thirds_say_resolved_the_same_way__sets_the_flag(said, flags):
    assert flags_of(replace(EVENT, max_dispersion=1_000_000), said) == flags


def test_event__one_hot_on_three_outcomes__is_dispersed_not_invented():
    spec = replace(EVENT, outcomes=3)
    hot = [(0,) * place + (10_000,) + (0,) * (2 - place) for place in range(3)]
    result = aggregate_feed(
        spec, [(1, FeedObservation(4, i, 0, sources=1, components=c)) for i, c in enumerate(hot)], 3
    )
    assert result.components == (3_334, 3_333, 3_333)
    assert result.flags & FLAG_DISPERSION and result.flags & FLAG_INVALID


@given(st.lists(feed_observations(FORECAST), min_size=3, max_size=3), feed_observations(FORECAST))
def test_forecast__one_of_four_lies__each_quantile_within_the_honest(honest, liar):
    honest = [replace(seen, components=tuple(sorted(seen.components))) for seen in honest]
    honest = [replace(seen, value=seen.components[4]) for seen in honest]
    result = aggregate_feed(FORECAST, [(1, seen) for seen in [*honest, liar]], 4)
    assert list(result.components) == sorted(result.components)
    for place, part in enumerate(result.components):
        assert min(s.components[place] for s in honest) <= part <= max(s.components[place] for s in honest)
    assert result.value == result.components[4]


@given(st.lists(feed_observations(EVENT), min_size=3, max_size=3), feed_observations(EVENT))
def test_binary_event__one_of_four_lies__each_probability_within_the_honest(honest, liar):
    result = aggregate_feed(EVENT, [(1, seen) for seen in [*honest, liar]], 4)
    assert sum(result.components) == 10_000
    for place, part in enumerate(result.components):
        assert min(s.components[place] for s in honest) <= part <= max(s.components[place] for s in honest)


@st.composite
def events_under_a_third(draw):
    """An event feed, stakes, who lies (under a third of all stake), who was included (a quorum), and what all said."""
    spec = replace(EVENT, outcomes=draw(st.integers(2, 6)), max_dispersion=10**6)
    stakes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=10))
    said = [draw(feed_observations(spec)) for _ in stakes]
    liars, included, lying, left = set(), list(range(len(stakes))), 0, sum(stakes)
    for row in draw(st.permutations(range(len(stakes)))):
        if 3 * (lying + stakes[row]) < sum(stakes):
            liars, lying = liars | {row}, lying + stakes[row]
        elif 3 * (left - stakes[row]) > 2 * sum(stakes) and draw(st.booleans()):
            included.remove(row)
            left -= stakes[row]
    return spec, stakes, liars, included, said


@given(events_under_a_third())
def test_event__under_a_third_of_stake_lies__each_probability_within_the_honest_or_dispersed(case):
    spec, stakes, liars, included, said = case
    result = aggregate_feed(spec, [(stakes[row], said[row]) for row in included], sum(stakes))
    assert sum(result.components) == 10_000 and min(result.components) >= 0
    honest = [said[row] for row in included if row not in liars]
    if not result.flags & FLAG_DISPERSION:
        for place, part in enumerate(result.components):
            assert min(s.components[place] for s in honest) <= part <= max(s.components[place] for s in honest)


def test_event__one_liar_moves_all_to_another_outcome__the_agreed_outcome_stays():
    spec = replace(EVENT, outcomes=3, max_dispersion=10**6)
    odds = [(8_000, 0, 2_000), (0, 8_000, 2_000), (4_000, 4_000, 2_000), (0, 0, 10_000)]
    result = aggregate_feed(spec, [(1, FeedObservation(4, leading(c), 0, sources=1, components=c)) for c in odds], 4)
    assert result.components == (4_000, 4_000, 2_000)


@given(st.lists(observations(), min_size=4, max_size=4), st.permutations(range(4)))
def test_slot__any_observations_in_any_order__same_bytes_that_read_back(items, shuffled):
    found = aggregate(CONFIG, dict(enumerate(items)))
    assert aggregate(CONFIG, {row: items[row] for row in shuffled}) == found
    words = {number: page_words(page) for number, page in zip(CONFIG.pages, found.pages, strict=True)}
    for spec, result in zip(CONFIG.feeds, found.results, strict=True):
        word = unpack_word(words[spec.page][spec.number % 4])
        assert (word.feed, word.value, word.turnout, word.flags) == (
            spec.number, result.value, result.turnout, result.flags,
        )  # fmt: skip
        assert word.confidence >= result.confidence
        if spec.is_vector:
            assert unpack_vector(spec, words[spec.page][spec.number % 4 + 1]) == result.components
    times = sorted(item.observed_at for item in items)
    assert found.report.observed_at in times and CONFIG.slot_at(found.report.observed_at * 1000) == SLOT


def test_slot__report_time__is_the_lower_weighted_median():
    start = CONFIG.slot_start_ms(SLOT) // 1000
    nothing = (None,) * len(CONFIG.feeds)
    items = {row: Observation(CONFIG.digest, SLOT, start + row, nothing) for row in range(4)}
    assert [row.stake // 10**17 for row in CONFIG.rows] == [225, 225, 200, 100]
    assert aggregate(CONFIG, items).report.observed_at == start + 1
    assert aggregate(CONFIG, {0: items[0], 1: items[1]}).report.observed_at == start
