"""One collector a subject, each with one method, `collect`. What failed and how long it took is the runner's."""
