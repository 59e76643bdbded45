"""`python -m chalicelib.jobs NAME`: run a scheduled job now."""

import argparse
import sys

from chalicelib.jobs import schedule
from chalicelib.wiring import service


def main() -> int:
    """Run one job in every region; the exit status is 1 if it could not finish everywhere."""
    parser = argparse.ArgumentParser(prog="python -m chalicelib.jobs", description=__doc__)
    parser.add_argument("job", choices=sorted(schedule.EVERY_MINUTES), help="the job to run")
    job = parser.parse_args().job
    outcomes = schedule.run(service(), job)
    for region, o in outcomes.items():
        state = (
            "another runner holds the lease"
            if not o.ran
            else "finished"
            if o.finished
            else "more to do: run again"
        )
        sys.stdout.write(f"{job} {region}: {o.done} done, {o.failed} failed, {state}\n")
    return 0 if all(o.finished and not o.failed for o in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
