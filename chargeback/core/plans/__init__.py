"""Plans: who is guaranteed and capped at what, and how an hour of them is settled."""
