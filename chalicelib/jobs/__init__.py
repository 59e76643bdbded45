"""Scheduled work: one file per job."""
