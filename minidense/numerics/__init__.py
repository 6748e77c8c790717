"""The functions of the mathematics, and NumPy's BLAS."""
