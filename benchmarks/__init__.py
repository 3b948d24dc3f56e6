"""What the README claims, and the program that proves each claim by measuring it.

The table is written by hand. A proof is a module with `main(arguments) -> int`: it measures side
by side in one run, prints its figure last, and returns 1 when the claim does not hold.
"""

from typing import Final, NamedTuple


class Proof(NamedTuple):
    """One claim: the name to call it by, what it says, and the module that measures it."""

    name: str
    claim: str
    module: str


PROOFS: Final = (
    Proof(
        "gateway-speed",
        "a paid chat call costs a worker at most 2.6 × the CPU nginx takes to proxy it (2.4 × TLS)",
        "benchmarks.gateway_speed",
    ),
    Proof(
        "stream-speed",
        "a relayed stream event costs at most 1.6 × nginx's CPU; an open stream at most 12 KiB",
        "benchmarks.stream_speed",
    ),
    Proof(
        "overhead",
        "one call alone is at most 150 µs slower than through nginx",
        "benchmarks.overhead",
    ),
    Proof(
        "kill",
        "whatever process is killed, whoever got an answer is charged exactly for it",
        "benchmarks.kill",
    ),
    Proof(
        "overspend",
        "a wallet worth one call admits exactly one of 64 at once, and never falls below zero",
        "benchmarks.overspend",
    ),
    Proof(
        "isolation",
        "an export of a million rows and 20 dashboards cost a call at most a tenth more CPU",
        "benchmarks.isolation",
    ),
    Proof(
        "scale",
        "a million API tokens fit: worker at most 150 MiB, a change on every worker in 50 ms",
        "benchmarks.scale",
    ),
    Proof(
        "splice",
        "a body changed on its way is the original plus the change, every other byte identical",
        "benchmarks.splice",
    ),
)
