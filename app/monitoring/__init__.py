"""How the service and its models do: status, live quality, comparison, metrics."""
