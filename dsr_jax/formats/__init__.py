"""File formats: atomic writes, locks, maps, and weights under the names of many publishers."""
