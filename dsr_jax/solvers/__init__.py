"""Solvers of the sparse coding problem (Eq. 3, 6) and its certificate."""
