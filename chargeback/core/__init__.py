"""The arithmetic of a bill, pure: standard library only, no clock, no I/O, no logging."""
