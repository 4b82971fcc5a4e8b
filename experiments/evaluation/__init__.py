"""Parts of `experiments.evaluate`: probes and gallery, methods, distances, figures and page."""
