"""The parts of `experiments.benchmark_speed`: what is timed against what, and how it is shown."""
