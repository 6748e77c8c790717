"""Numerical functions, control of NumPy's BLAS, and work on several threads."""
