"""Where master keys live: the port and its adapters."""
