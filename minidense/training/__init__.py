"""From fit to the update."""
