"""The key-value table: the port, its two adapters, and the typed rows."""
