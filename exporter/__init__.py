"""The node agent: reads GPUs, learns who holds them, keeps node-hours and pushes them."""
