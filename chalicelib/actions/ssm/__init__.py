"""Secrets Manager, version 2019-09-23."""
