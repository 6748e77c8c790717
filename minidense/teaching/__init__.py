"""What explains, checks and draws a network."""
