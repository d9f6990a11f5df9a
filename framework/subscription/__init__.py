"""How the log's events reach those who handle them."""
