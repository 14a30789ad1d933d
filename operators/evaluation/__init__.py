"""Measuring methods: metrics, intervals, and the disturbances that robustness is measured under."""
