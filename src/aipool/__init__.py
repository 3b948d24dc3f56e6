"""AI-POOL: a self-hosted AI gateway with prepaid tokens.

`ARCHITECTURE.md` shows the planes and the walk of one request. This package imports nothing at
its top: every process of the platform pays only for the parts it really uses.
"""

__version__ = "0.1.0"
