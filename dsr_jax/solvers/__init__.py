"""Solvers of the sparse coding problem (Eq. 3, 6), their certificate, and the table of them."""
