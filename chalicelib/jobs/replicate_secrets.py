"""Brings the replicas of secrets in step with their primaries, where the call that changed these could not."""

from chalicelib import replication
from chalicelib.context import Service
from chalicelib.jobs import sweep
from chalicelib.table.replicas import REPLICATE


def replicate_secrets(service: Service, region: str) -> sweep.Outcome:
    """Do what one region's secrets have left to do; see `sweep.run` for what happens when it is killed or runs twice."""
    return sweep.run(service, region, REPLICATE, lambda row: replication.work(service, region, row))
