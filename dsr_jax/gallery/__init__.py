"""Galleries on disk: a table of Lance in a folder, behind the interface of `match.Gallery`."""
