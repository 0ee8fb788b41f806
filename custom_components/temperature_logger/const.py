"""Names and numbers that several modules share."""

from enum import StrEnum
import logging
from typing import Final

DOMAIN: Final = "temperature_logger"
LOGGER: Final = logging.getLogger(__package__)

CONF_ADAPTER: Final = "adapter"
CONF_ADAPTER_NAME: Final = "adapter_name"
CONF_BATCH_SIZE: Final = "batch_size"
CONF_BUCKET: Final = "bucket"
CONF_CALIBRATION: Final = "calibration"
CONF_CONTROLLER: Final = "controller"
CONF_DATABASE: Final = "database"
CONF_DEVICES: Final = "devices"
CONF_DISK_GUARD: Final = "disk_guard"
CONF_DISK_LIMIT: Final = "disk_limit"
CONF_DRIVER: Final = "driver"
CONF_END: Final = "end"
CONF_ENTRY: Final = "entry_id"
CONF_FACTOR: Final = "factor"
CONF_FIRMWARE: Final = "firmware"
CONF_FOLDER: Final = "folder"
CONF_FORMAT: Final = "format"
CONF_GZIP: Final = "gzip"
CONF_INTERVAL: Final = "interval"
CONF_KIND: Final = "kind"
CONF_LABELS: Final = "labels"
CONF_MOVED_FROM: Final = "moved_from"
CONF_OFFSET: Final = "offset"
CONF_ORG: Final = "org"
CONF_PAST: Final = "past"
CONF_PORTS: Final = "ports"
CONF_PROTOCOL: Final = "protocol"
CONF_QUANTITIES: Final = "quantities"
CONF_SHAPE: Final = "shape"
CONF_SITE: Final = "site"
CONF_START: Final = "start"
CONF_THERMOMETER: Final = "thermometer"
CONF_TRIMMING_HASH: Final = "trimming_hash"

KIND_BME280: Final = "bme280"
KIND_ENDPOINT: Final = "endpoint"
KIND_HOST: Final = "host"
KIND_USB: Final = "usb"

DAY_SECONDS: Final = 86400
# Seconds: short enough for the curve of a room, long enough for years of history.
DEFAULT_INTERVAL: Final = 300
# The interval is an option, as the purpose of a logger decides it. Below 10 s a stick
# warms itself; readings more than an hour apart do not make a curve.
MIN_INTERVAL: Final = 10
MAX_INTERVAL: Final = 3600
# Usage of the disk in percent, above which the disk guard acts.
DEFAULT_DISK_LIMIT: Final = 90
MIN_DISK_LIMIT: Final = 50
MAX_DISK_LIMIT: Final = 99
# Readings in one request: more than a day of one sensor, about 40 KB.
DEFAULT_BATCH_SIZE: Final = 360
MIN_BATCH_SIZE: Final = 1
MAX_BATCH_SIZE: Final = 5000
# Decimals of a stored value, finer than any of the sensors. A state is text, so another
# digit would cost a byte in every row of the history.
DIGITS: Final = 3
# Days of history that the integration promises.
RETENTION: Final = 14
READINGS_URL: Final = f"/api/{DOMAIN}/readings"


class DiskGuard(StrEnum):
    """The reaction to a disk that gets full; the default is off."""

    OFF = "off"
    WARN = "warn"
    THIN = "thin"


class Refusal(StrEnum):
    """The reasons to refuse a query of the history; each value is the key of a text."""

    NO_LOGIN = "no_login"
    NO_RECORDER = "no_recorder"
    NO_STATISTICS = "no_statistics"
    NO_SUCH_TIME = "no_such_time"
    NOT_A_READING = "not_a_reading"
    NOT_WRITTEN = "not_written"
    PATH_NOT_ALLOWED = "path_not_allowed"
    RECORDER_BUSY = "recorder_busy"
    RECORDER_CHANGED = "recorder_changed"
    RECORDER_FAILED = "recorder_failed"
    START_AFTER_END = "start_after_end"
    TARGET_NOT_FOUND = "target_not_found"
