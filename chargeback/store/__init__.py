"""The ledger's store: the only room that speaks SQL. Rows stop here, core values go in and out.

Every function is synchronous and takes a `Connection` inside a transaction; callers on an event loop run them in a
thread. SQLite (one process) and PostgreSQL share every function.
"""
