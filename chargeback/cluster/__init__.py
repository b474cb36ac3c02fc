"""The door to Kubernetes: namespaces and quotas, from the API or from YAML as kubectl prints it.

Nothing else of the aggregator imports `kubernetes`. Values of the core come out.
"""
