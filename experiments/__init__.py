"""Runners: one file an experiment; flags become frozen settings in `main`. What could be reused is in `dsr_jax`."""
