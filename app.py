"""Chalice wiring: the front doors and the schedules, and nothing else."""

import gc
import os
from typing import Any

from chalice import Chalice, Rate, Response
from chalice.app import CloudWatchEvent

from chalicelib.api import function_url, rest
from chalicelib.jobs import schedule
from chalicelib.wiring import gateway, service

app = Chalice(app_name="keystead")
# The front doors decide what a body is.
app.api.binary_types = []

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    # A function has more CPU while it starts than later: what all calls share is opened now. Little of it is garbage.
    gc.disable()
    gateway()
    gc.freeze()
    gc.enable()


@app.lambda_function(name="api")
def api(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """The function URL (payload 2.0)."""
    return function_url.handle(event, gateway())


# A stage that is reached by function URL packages no REST API.
if os.environ.get("KEYSTEAD_STAGE", "local") == "local":
    if "AWS_CHALICE_CLI_MODE" in os.environ:
        from chalicelib import local

        local.start()

    @app.route("/", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"], content_types=[])
    def root() -> Response:
        """`chalice local` and API Gateway v1."""
        request = app.current_request
        reply = rest.handle(request.to_original_event() if request else {}, gateway())
        return Response(reply.body.decode(), status_code=reply.status, headers=dict(reply.headers))


@app.schedule(Rate(schedule.EVERY_MINUTES["delete_expired_data_keys"], unit=Rate.MINUTES))
def delete_expired_data_keys(_event: CloudWatchEvent) -> None:
    """Remove hosted data keys whose deletion date has passed."""
    schedule.run(service(), "delete_expired_data_keys")


@app.schedule(Rate(schedule.EVERY_MINUTES["delete_expired_keys"], unit=Rate.MINUTES))
def delete_expired_keys(_event: CloudWatchEvent) -> None:
    """Destroy keys whose deletion date has passed."""
    schedule.run(service(), "delete_expired_keys")


@app.schedule(Rate(schedule.EVERY_MINUTES["delete_expired_secrets"], unit=Rate.MINUTES))
def delete_expired_secrets(_event: CloudWatchEvent) -> None:
    """Remove secrets whose deletion date has passed."""
    schedule.run(service(), "delete_expired_secrets")


@app.schedule(Rate(schedule.EVERY_MINUTES["expire_imported_material"], unit=Rate.MINUTES))
def expire_imported_material(_event: CloudWatchEvent) -> None:
    """Remove imported key material whose end has come."""
    schedule.run(service(), "expire_imported_material")


@app.schedule(Rate(schedule.EVERY_MINUTES["replicate_secrets"], unit=Rate.MINUTES))
def replicate_secrets(_event: CloudWatchEvent) -> None:
    """Bring replicas of secrets in step with their primaries."""
    schedule.run(service(), "replicate_secrets")


@app.schedule(Rate(schedule.EVERY_MINUTES["rewrap_tokens"], unit=Rate.MINUTES))
def rewrap_tokens(_event: CloudWatchEvent) -> None:
    """Put key tokens under the newest domain keys."""
    schedule.run(service(), "rewrap_tokens")


@app.schedule(Rate(schedule.EVERY_MINUTES["rotate_keys"], unit=Rate.MINUTES))
def rotate_keys(_event: CloudWatchEvent) -> None:
    """Rotate the keys whose automatic rotation is due."""
    schedule.run(service(), "rotate_keys")


@app.schedule(Rate(schedule.EVERY_MINUTES["seal_audit"], unit=Rate.MINUTES))
def seal_audit(_event: CloudWatchEvent) -> None:
    """Seal the audit trail into signed digests."""
    schedule.run(service(), "seal_audit")
