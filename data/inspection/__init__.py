"""Inspection: the check of a source, statistics of a data set, and its contact sheet."""
