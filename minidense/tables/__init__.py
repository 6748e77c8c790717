"""Tables: columns of numbers, text and dates, with gaps, as rows of numbers for a network."""
