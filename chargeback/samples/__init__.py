"""Samples of the metrics, from values of the core."""
