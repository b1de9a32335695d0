"""What is known of a task before it is done: the eleven features and all other inputs of a model."""
