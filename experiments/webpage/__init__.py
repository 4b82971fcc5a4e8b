"""The parts of the serve command: requests let in, pictures read, the search behind them, what is kept, the page."""
