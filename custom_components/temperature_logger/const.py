"""Names and numbers shared by the rooms."""

from datetime import timedelta
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
CONF_ENTRY: Final = "entry_id"
CONF_FACTOR: Final = "factor"
CONF_FIRMWARE: Final = "firmware"
CONF_FOLDER: Final = "folder"
CONF_GZIP: Final = "gzip"
CONF_INTERVAL: Final = "interval"
CONF_KIND: Final = "kind"
CONF_LABELS: Final = "labels"
CONF_OFFSET: Final = "offset"
CONF_ORG: Final = "org"
CONF_PAST: Final = "past"
CONF_PORTS: Final = "ports"
CONF_PROTOCOL: Final = "protocol"
CONF_QUANTITIES: Final = "quantities"
CONF_SHAPE: Final = "shape"
CONF_SITE: Final = "site"
CONF_THERMOMETER: Final = "thermometer"
CONF_TRIMMING_HASH: Final = "trimming_hash"

KIND_BME280: Final = "bme280"
KIND_ENDPOINT: Final = "endpoint"
KIND_HOST: Final = "host"
KIND_USB: Final = "usb"

DAY_SECONDS: Final = 86400
# Fine enough for a curve of a room, coarse enough for years of history.
DEFAULT_INTERVAL: Final = 300
# A logger's own choice, so it is an option: below 10 s a stick warms itself, above an
# hour it is no curve.
MIN_INTERVAL: Final = 10
MAX_INTERVAL: Final = 3600
# Percent of the disk from which on the guard warns, and thins if it may.
DEFAULT_DISK_LIMIT: Final = 90
MIN_DISK_LIMIT: Final = 50
MAX_DISK_LIMIT: Final = 99
# Readings that are sent together: a day and more of one sensor, some 40 KB.
DEFAULT_BATCH_SIZE: Final = 360
MIN_BATCH_SIZE: Final = 1
MAX_BATCH_SIZE: Final = 5000
# Finer than any of the sensors. A state is text: each digit more would cost a byte in
# every row of the history.
DIGITS: Final = 3
# Days of history that are promised.
RETENTION: Final = 14
READINGS_URL: Final = f"/api/{DOMAIN}/readings"
# The first retry of a device that failed; each further one waits twice as long.
RETRY: Final = timedelta(seconds=15)


class DiskGuard(StrEnum):
    """What is done about a disk that gets full; the first is the default."""

    OFF = "off"
    WARN = "warn"
    THIN = "thin"


class Refusal(StrEnum):
    """Why a question about the history gets no answer: the key of the text."""

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
