"""The failures that keep a reading from arriving at its server."""

from enum import StrEnum
from typing import Final

from ..drivers import DetailedError


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


# The server refuses the content or the size of a batch. It may accept a part of it.
ABOUT_THE_BATCH: Final = frozenset(
    {Failure.ENDPOINT_REFUSED, Failure.ENDPOINT_TOO_LARGE}
)


class DeliveryError(DetailedError):
    """The server did not confirm a batch of readings."""

    def __init__(
        self,
        failure: Failure,
        *,
        may_have_arrived: bool = False,
        retry_after: float = 0.0,
        **details: str,
    ) -> None:
        """Name the failure, with the details that its text quotes.

        may_have_arrived: the server may have stored the readings nevertheless.
        retry_after: the seconds that the server asks to wait.
        """
        super().__init__(failure, **details)
        self.failure = failure
        self.may_have_arrived = may_have_arrived
        self.retry_after = retry_after
