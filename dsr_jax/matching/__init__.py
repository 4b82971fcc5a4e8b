"""Machinery of `match` and `shortlist`: from maps to certified distances, by one engine per backend."""
