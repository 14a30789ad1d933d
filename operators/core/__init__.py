"""Pure functions on arrays, and the shape that every operator has."""
