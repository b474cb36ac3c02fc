"""Explaining a line of the ledger: what is read for it, and how people are told."""
