"""How figures went: what is drawn of many steps, what is said of it, and what cannot be drawn."""

import math
import re

import numpy as np
import pytest

from dsr_jax.report import trends
from dsr_jax.report.trends import Trace, Trend


def loss(*values, name="loss", steps=()):
    return Trace(name, steps or tuple(range(1, len(values) + 1)), values)


def test_many_steps_are_groups_of_neighbours_with_mean_least_and_most():
    values = np.random.default_rng(0).standard_normal(1000)
    at, mean, least, most = trends._grouped(loss(*values.tolist()))
    assert len(at) == trends.GROUPS
    parts = values.reshape(200, 5)
    np.testing.assert_allclose(mean, parts.mean(axis=1))
    np.testing.assert_allclose(least, parts.min(axis=1))
    np.testing.assert_allclose(most, parts.max(axis=1))
    np.testing.assert_allclose(at, np.arange(1, 1001).reshape(200, 5).mean(axis=1))


def test_few_steps_are_themselves():
    at, mean, least, most = trends._grouped(loss(3.0, 1.0, 2.0))
    assert at.tolist() == [1, 2, 3] and mean.tolist() == least.tolist() == most.tolist() == [3, 1, 2]


def test_equal_trends_are_equal_text_and_name_their_figures():
    trend = Trend("Loss", "nats", (loss(2.0, 1.0), loss(3.0, 2.5, name="$identification$")))
    text = trends.draw(trend)
    assert text == trends.draw(trend) and text.startswith("<svg")
    assert all(word in text for word in ("nats", "$identification$", "step"))
    assert trends.describe(trend) == "loss: 2 at step 1, 1 at step 2; $identification$: 3 at step 1, 2.5 at step 2."


def test_a_single_step_and_values_that_are_all_equal_are_drawn():
    assert trends.draw(Trend("Loss", "loss", (loss(1.0),))).startswith("<svg")
    assert trends.draw(Trend("Loss", "loss", (loss(0.0, 0.0, 0.0),))).startswith("<svg")
    assert trends.describe(Trend("Loss", "loss", (loss(1.0),))) == "loss: 1 at step 1."


def test_a_logarithmic_trend_leaves_out_what_it_cannot_show():
    some = trends.draw(Trend("Gap", "gap", (loss(0.0, 1e-6, 1e-3),), log=True))
    assert "0.001" in some
    nothing = trends.draw(Trend("Gap", "gap", (loss(0.0, 0.0),), log=True))
    assert nothing.startswith("<svg")


def test_names_stand_at_the_height_of_their_lines():
    text = trends.draw(Trend("Both", "", (loss(1.0, 9.0, name="high"), loss(1.0, 5.0, name="low"))))
    heights = {name: float(y) for y, name in re.findall(r'y="([\d.]+)"[^>]*>(high|low)<', text)}
    if not heights:
        places = re.findall(r"translate\(([\d.]+) ([\d.]+)\)[^>]*>\s*(high|low)", text)
        heights = {name: float(y) for _, y, name in places}
    assert heights["high"] < heights["low"] - 50


@pytest.mark.parametrize(
    "traces, message",
    [
        ((), "has no traces"),
        ((loss(),), "0 values"),
        ((loss(1.0, 2.0, steps=(1,)),), "2 values and 1 steps"),
        ((loss(1.0, math.nan),), "not finite"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(traces, message):
    with pytest.raises(ValueError, match=message):
        trends.draw(Trend("Loss", "loss", traces))
