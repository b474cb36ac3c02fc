"""Months: what must be so before one is closed, and what it says then."""
