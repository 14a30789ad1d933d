"""The published scoring methods, behind one registry."""
