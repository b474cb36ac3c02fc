"""Whose a namespace is, and since when."""
