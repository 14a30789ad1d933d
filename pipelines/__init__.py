"""One file a job; each reads like the data-flow diagram."""
