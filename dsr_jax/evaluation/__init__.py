"""Protocols, camera rule, ranking and verification statistics of an evaluation."""
