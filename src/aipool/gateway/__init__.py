"""The data plane: from a socket to an Outcome. Knows no SQL and no web framework."""
