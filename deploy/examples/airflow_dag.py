"""A night in Airflow: each step a task, each exit status what a scheduler can act on."""

import datetime as dt

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "spanloop_nightly",
    schedule="30 2 * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
):
    # 3: a gate refused, and the live model stays. The rest is tried again, and goes on where it was: 75 is a lock that
    # somebody holds, 1 and 2 are for people in the end.
    BashOperator(
        task_id="nightly",
        bash_command="spanloop nightly --data /var/lib/spanloop --json",
        skip_on_exit_code=3,
        retries=6,
        retry_delay=dt.timedelta(minutes=5),
    )
