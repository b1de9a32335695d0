"""One file that holds a database and its models, and the way back."""
