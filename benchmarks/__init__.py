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
        "ledger-simulation",
        "2,000 simulated worlds of kills, power cuts and lost messages keep every invariant",
        "benchmarks.ledger_simulation",
    ),
    Proof(
        "kill",
        "whatever process is killed, whoever got an answer is charged exactly for it",
        "benchmarks.kill",
    ),
    Proof(
        "injection",
        "a process may die at any line of shipping, booking or recovering: the books are right",
        "benchmarks.injection",
    ),
    Proof(
        "power-cut",
        "a power cut or a failed sync at any moment loses nothing that was answered for",
        "benchmarks.power_cut",
    ),
    Proof(
        "postgres-faults",
        "a PostgreSQL that is killed under load loses no call and no charge, and refuses nobody",
        "benchmarks.postgres_faults",
    ),
    Proof(
        "overspend",
        "nobody spends what is not there, and at rest nobody is refused what is, on any worker",
        "benchmarks.overspend",
    ),
    Proof(
        "failover",
        "while one key is well no client sees another fail; a failover adds at most 5 ms",
        "benchmarks.failover",
    ),
    Proof(
        "windows",
        "a daily, weekly or monthly limit begins anew on the second, whatever is done to the clock",
        "benchmarks.windows",
    ),
    Proof(
        "rate-limit",
        "a rate limit is never passed in any 60 s, and refuses nobody that it has room for",
        "benchmarks.rate_limit",
    ),
    Proof(
        "isolation",
        "an export of a million rows and 20 dashboards cost a call at most a tenth more CPU",
        "benchmarks.isolation",
    ),
    Proof(
        "logins",
        "200 people who log in all the time at most double what one call in a hundred exceeds",
        "benchmarks.logins",
    ),
    Proof(
        "log-speed",
        "a page of ten million calls by any filter, and a dashboard, take at most 100 ms (p95)",
        "benchmarks.log_speed",
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
    Proof(
        "api-fuzz",
        "20,000 requests made from the OpenAPI document meet no answer that it does not promise",
        "benchmarks.api_fuzz",
    ),
)
