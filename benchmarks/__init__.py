"""Speed and memory, measured; results are committed with the machine that gave them."""
