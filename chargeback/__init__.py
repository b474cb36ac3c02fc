"""The aggregator: joins node-hours with owners, quotas and prices, keeps the ledger, bills."""
