"""Other ways of doing the same, written down small, to measure against."""
