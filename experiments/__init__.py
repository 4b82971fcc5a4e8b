"""Runners: one file an experiment, absl flags, thin. What could be reused is in `dsr_jax`."""
