"""Home Assistant, silent about what scripts/develop does on purpose.

These warnings come before the logger integration, which could have been told.
"""

import logging
import sys

from homeassistant import __main__

EXPECTED = (
    "Skipping pip installation of required modules.",
    "We found a custom integration ",
)


def is_news(record: logging.LogRecord) -> bool:
    """Return whether a record says more than what is expected."""
    return not record.getMessage().startswith(EXPECTED)


def main() -> int:
    """Run Home Assistant with the arguments given."""
    for name in ("homeassistant.bootstrap", "homeassistant.loader"):
        logging.getLogger(name).addFilter(is_news)
    return __main__.main()


if __name__ == "__main__":
    sys.exit(main())
