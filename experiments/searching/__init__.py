"""The parts of the search command: pictures listed, gallery brought up to date, probes, answers, what is shown."""
