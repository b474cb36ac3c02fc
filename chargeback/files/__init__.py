"""Files that people write: YAML, read whole, all problems at once."""
