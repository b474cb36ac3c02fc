"""Pages for people: what the API says, as a table."""
