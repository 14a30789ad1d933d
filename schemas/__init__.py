"""What the project's data looks like: tables, configuration, reasons, expectations. No logic."""
