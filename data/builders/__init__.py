"""Builders: a module per data set, and what they share."""
