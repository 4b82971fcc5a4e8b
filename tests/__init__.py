"""Tests: one file per module; `peers` holds the live comparisons with other implementations."""
