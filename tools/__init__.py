"""What builds the deployable parts; nothing here runs in the service."""
