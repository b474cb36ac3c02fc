"""The command line: finance and operators. Output for pipes on stdout, complaints on stderr."""
