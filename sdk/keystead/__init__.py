"""Keystead for applications: encryption, secrets, and the client beneath them. Importing it reads nothing."""
