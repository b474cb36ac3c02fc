"""What HTTP and the command line answer, as plain values."""
