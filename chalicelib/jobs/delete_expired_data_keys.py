"""Removes the rows of hosted data keys whose deletion date has passed. They are gone for every call since that moment."""

from chalicelib.context import Service
from chalicelib.data_key_store import purge
from chalicelib.jobs import sweep
from chalicelib.table.data_keys import DELETE_EXPIRED


def delete_expired_data_keys(service: Service, region: str) -> sweep.Outcome:
    """Sweep one region; see `sweep.run` for what happens when it is killed or runs twice."""
    return sweep.run(service, region, DELETE_EXPIRED, lambda row: purge(service, region, row.pk, row.sk))
