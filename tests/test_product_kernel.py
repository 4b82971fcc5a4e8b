"""The product of few rows with many: BLAS's to rounding, for every remainder, and for arrays that can't be written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax.cpu import _product_kernel


@given(n=st.integers(1, 9), m=st.integers(1, 300), d=st.integers(1, 40), threads=st.integers(1, 3))
def test_products_are_those_of_float64(n, m, d, threads):
    rng = np.random.default_rng((n, m, d))
    few, many = rng.standard_normal((n, d), np.float32), rng.standard_normal((m, d), np.float32)
    few.flags.writeable = False
    found = _product_kernel.product(few, many, threads=threads)
    assert found.dtype == np.float32
    right = few.astype(np.float64) @ many.astype(np.float64).T
    scale = np.linalg.norm(few, axis=1)[:, None] * np.linalg.norm(many, axis=1)
    assert (np.abs(found - right) <= 1e-6 * scale).all()


@pytest.mark.parametrize("n", [_product_kernel.FEW, _product_kernel.FEW + 1])
def test_many_rows_are_left_to_blas(n, monkeypatch):
    asked = []
    monkeypatch.setattr(_product_kernel.cores, "each", lambda *_, **__: asked.append(n))
    _product_kernel.product(np.ones((n, 3), np.float32), np.ones((5, 3), np.float32))
    assert bool(asked) == (n <= _product_kernel.FEW)


def test_rows_of_a_larger_array():
    whole = np.random.default_rng(0).standard_normal((6, 8), np.float32)
    found = _product_kernel.product(whole[::2], whole[:, :8])
    np.testing.assert_allclose(found, whole[::2] @ whole.T, rtol=1e-5, atol=1e-6)


def test_rows_of_different_lengths():
    with pytest.raises(ValueError, match="one length d, got 3 and 4"):
        _product_kernel.product(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
