"""What can go wrong between a reading and its server."""

from enum import StrEnum


class Failure(StrEnum):
    """One member per remedy; its value is the key of the text that names it."""

    ENDPOINT_BUSY = "endpoint_busy"
    ENDPOINT_CERTIFICATE = "endpoint_certificate"
    ENDPOINT_FAILED = "endpoint_failed"
    ENDPOINT_MISPLACED = "endpoint_misplaced"
    ENDPOINT_NOT_CONFIRMED = "endpoint_not_confirmed"
    ENDPOINT_REDIRECTED = "endpoint_redirected"
    ENDPOINT_REFUSED = "endpoint_refused"
    ENDPOINT_SILENT = "endpoint_silent"
    ENDPOINT_TOO_LARGE = "endpoint_too_large"
    ENDPOINT_UNAUTHORISED = "endpoint_unauthorised"
    ENDPOINT_UNREACHABLE = "endpoint_unreachable"


# What splitting a batch may help against, as it is about what was sent.
ABOUT_THE_BATCH = frozenset({Failure.ENDPOINT_REFUSED, Failure.ENDPOINT_TOO_LARGE})


class DeliveryError(Exception):
    """Readings that the server did not confirm."""

    def __init__(
        self,
        failure: Failure,
        *,
        is_open: bool = False,
        retry_after: float = 0.0,
        **details: str,
    ) -> None:
        """Say what is wrong, with the details that its text quotes.

        It may be open whether the readings have arrived all the same. The server may
        say after how many seconds it wants to be asked again.
        """
        quoted = ", ".join(f"{key} {value}" for key, value in details.items())
        super().__init__(f"{failure} ({quoted})")
        self.failure = failure
        self.details = details
        self.is_open = is_open
        self.retry_after = retry_after
