"""A training run, from its schedule to what is published."""
