"""From the user's data to checked rows, and from rows to batches."""
