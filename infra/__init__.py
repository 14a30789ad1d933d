"""The outside world: storage, processes, clusters, audits, tracking."""
