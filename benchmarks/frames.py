"""Send generated answers through every decoder: python -m benchmarks.frames 1000000."""

import argparse
import random
import sys
import time
from unittest.mock import patch

from tests.drivers.frames import DECODERS, run


def main() -> None:
    """Print one line for each decoder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames")
    parser.add_argument("number", type=int, help="answers for each decoder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Adafruit's library gives each chip 4 ms to start.
    with patch.object(time, "sleep"):
        for decoder in DECODERS:
            began = time.monotonic()
            source = random.Random(arguments.seed)  # noqa: S311 - it keeps no secret.
            outcomes = run(decoder, arguments.number, source)
            duration_us = (time.monotonic() - began) / arguments.number * 1e6
            sys.stdout.write(
                f"{decoder.name:32} {outcomes['results']:9} results "
                f"{outcomes['errors']:9} errors {duration_us:6.1f} µs each\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
