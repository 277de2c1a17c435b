"""Outcomes over gaps and at the end of a series."""

from __future__ import annotations

import numpy as np

from models.labels import labels

HOUR = 3_600_000_000


def test_labels__regular_hours__log_returns_and_unknown_end() -> None:
    ts = np.arange(30) * HOUR
    close = np.exp(np.arange(30) * 0.01)
    found = labels(ts, close, (3_600, 86_400), 3_600)
    np.testing.assert_allclose(found[:29, 0], 0.01)
    np.testing.assert_allclose(found[:6, 1], 0.24)
    assert np.isnan(found[29, 0]) and np.isnan(found[6:, 1]).all()


def test_labels__weekend__none_rather_than_a_stale_zero() -> None:
    ts = np.array([0, 1, 2, 50, 51, 52]) * HOUR
    close = np.array([1.0, 1.1, 1.2, 2.0, 2.1, 2.2])
    found = labels(ts, close, (3_600, 4 * 3_600), 3_600)
    assert np.isnan(found[2, 0])
    np.testing.assert_allclose(found[1, 0], np.log(1.2 / 1.1))
    np.testing.assert_allclose(found[0, 1], np.log(1.2), err_msg="two bars old at the horizon: still a price")
    assert np.isnan(found[1, 1]), "three bars old: no price"


def test_labels__empty__empty() -> None:
    assert labels(np.array([], dtype=np.int64), np.array([]), (3_600,), 3_600).shape == (0, 1)
