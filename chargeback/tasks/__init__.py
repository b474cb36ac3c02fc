"""What the aggregator does by itself: closes hours, follows the cluster, renders its metrics."""
