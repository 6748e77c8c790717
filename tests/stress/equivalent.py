"""Mutants that no test can notice: by (file, source line, "before -> after"), why."""

EXPLAINED: dict[tuple[str, str, str], str] = {}
