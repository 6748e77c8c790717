"""From what the user passes to rows, and from rows to batches."""
