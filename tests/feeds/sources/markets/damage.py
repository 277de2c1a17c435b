"""JSON values damaged in one or several places: what a fuzz test feeds to a parser."""

from __future__ import annotations

import copy

from hypothesis import strategies as st

junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.sampled_from(("", "[]", "{}", "1e99", "-1", "0", "1", "resolved", "CANCEL", "MKT", "finalized", "scalar")),
    st.sampled_from((1e300, -1e300, 10**80, -(10**80), [], {}, [[]], [{}], {"": None}, ["1"], 1e-300)),
)  # fmt: skip


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def damaged(draw, value):
    """The value with one to three places replaced by junk or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(
            st.sampled_from(list(_places(value))) if isinstance(value, dict | list) else st.just(())
        ) or (None,)
        if last is None:
            return draw(junk)
        inner = value
        for key in path:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(junk)
        else:
            del inner[last]
    return value
