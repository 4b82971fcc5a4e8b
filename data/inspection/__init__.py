"""Checks and statistics of a source or data set, and its contact sheet."""
