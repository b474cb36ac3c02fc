"""GPU quotas: what they say, what Kubernetes makes of it, who holds them. Pure, as all of the core."""
