"""Prices: what the book says, which entry applies, and what may change in it."""
