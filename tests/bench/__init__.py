"""What the agent costs its node. Run by `make bench`, never by `make test`: figures of one machine are no test."""
