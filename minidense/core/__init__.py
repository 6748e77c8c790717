"""What all other folders need: arguments, errors, random generators, types."""
