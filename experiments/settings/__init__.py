"""Settings of the runners: frozen dataclasses whose fields are command-line flags, in groups that runners share."""
