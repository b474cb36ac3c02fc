"""Looking at a month, drafting and closing it: one transaction each."""
