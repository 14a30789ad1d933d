"""What is done to arrays: operators, the pure functions under them, methods, training."""
