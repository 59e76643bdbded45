"""Bytes that must be readable for ever: each format starts with a version byte (docs/formats.md)."""
