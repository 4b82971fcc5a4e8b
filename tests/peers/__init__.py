"""Live comparisons with other implementations: `make test-peers`."""
