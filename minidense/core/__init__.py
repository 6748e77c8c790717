"""What every room needs: arguments, errors, random generators, types."""
