"""Tools to inspect a network: the gradient check and the summary."""
