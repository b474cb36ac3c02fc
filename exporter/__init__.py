"""The node agent: reads GPUs, learns who holds them, keeps node-hours and pushes them."""

VERSION = "0.1.0"  # as in pyproject.toml: importlib.metadata would be asked for it in 0.8 MiB
