"""Code that exists only to be fast on a CPU: threads, compiled kernels and their cache, convolutions."""
