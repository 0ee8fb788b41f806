"""Home Assistant without the warnings that scripts/develop causes on purpose.

These warnings are logged before the logger integration, which could hide them, is
loaded.
"""

import logging
import sys

from homeassistant import __main__

EXPECTED_WARNINGS = (
    "Skipping pip installation of required modules.",
    "We found a custom integration ",
)


def is_news(record: logging.LogRecord) -> bool:
    """Return whether a record is not one of the expected warnings."""
    return not record.getMessage().startswith(EXPECTED_WARNINGS)


def main() -> int:
    """Run Home Assistant with these arguments."""
    for name in ("homeassistant.bootstrap", "homeassistant.loader"):
        logging.getLogger(name).addFilter(is_news)
    return __main__.main()


if __name__ == "__main__":
    sys.exit(main())
