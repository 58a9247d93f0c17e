"""The faults of a soak, by name. Each undoes its harm where that does not pass by itself."""

from collections.abc import Callable

from benchmarks.soak import receiver_faults as receiver
from benchmarks.soak import serving_faults as serving
from benchmarks.soak.world import World

Fault = Callable[[World], str]

FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        serving.engine_killed, serving.engine_hung, serving.engine_paused, serving.gateway_killed,
        serving.gateway_ended, serving.gateway_paused, serving.second_gateway, serving.gateway_disk_full,
        serving.promotion, serving.rollback, serving.canary, serving.damaged_checkpoint, serving.missing_checkpoint,
        serving.malformed_calls, serving.calls_broken_off, serving.idle_connections, serving.burst,
        serving.wrong_keys, serving.agents_key_rotated, serving.key_made_and_revoked, receiver.receiver_killed,
        receiver.receiver_ended, receiver.receiver_paused, receiver.receiver_away,
        serving.gateway_ended_while_receiver_away, receiver.receiver_disk_full, receiver.malformed_exports,
        receiver.slow_query, receiver.backup, receiver.verified_while_running,
        serving.control_port_asked_by_a_stranger, receiver.receiver_clock_leaps, receiver.receiver_clock_set_back,
        serving.gateway_clock_jumps, receiver.receiver_disk_fails, receiver.receiver_disk_slow,
        serving.gateway_disk_fails, receiver.day_sealed, receiver.pruned,
    )
}  # fmt: skip
