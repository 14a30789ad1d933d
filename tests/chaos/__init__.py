"""Kill everything that a run is made of, at seeded moments, and compare what it publishes."""
