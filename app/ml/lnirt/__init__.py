"""The log-normal response time IRT model (van der Linden 2007): its fit, its students and how it serves."""
