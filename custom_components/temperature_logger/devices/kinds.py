"""The kinds of devices and what sets each up."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from homeassistant.const import CONF_ADDRESS, CONF_MODEL, EVENT_HOMEASSISTANT_CLOSE
from homeassistant.core import Event, HomeAssistant
from homeassistant.helpers.importlib import async_import_module
from homeassistant.util.hass_dict import HassKey

from ..const import (
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_CONTROLLER,
    CONF_DRIVER,
    CONF_FIRMWARE,
    CONF_KIND,
    CONF_PORTS,
    CONF_SHAPE,
    CONF_TRIMMING_HASH,
    DOMAIN,
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from ..drivers import (
    HOST_PLACE,
    Driver,
    Lane,
    Workers,
    i2c_attachment,
    i2c_place,
    i2c_port,
    usb_attachment,
    usb_place,
)
from ..drivers.registry import module_of

if TYPE_CHECKING:
    from ..drivers.i2c.bosch import BoschChip

type EntryData = Mapping[str, Any]
type OnGone = Callable[[], None]

DATA_LANES: HassKey[dict[str, Lane]] = HassKey(f"{DOMAIN}_lanes")
DATA_WORKERS: HassKey[Workers] = HassKey(f"{DOMAIN}_workers")


class Kind(NamedTuple):
    """What differs between the kinds; each function takes an entry's data."""

    attachment: Callable[[EntryData], str]
    """What identifies the place: the entry's unique id."""
    driver: str
    """The driver where the entry names none."""
    place: Callable[[EntryData], str]
    """The place for people."""
    port: Callable[[EntryData], str]
    """What its plug or bus is called by the watch: it comes and goes with that."""


def _make_temper(hass: HomeAssistant, data: EntryData, on_gone: OnGone) -> Driver:
    """Return the driver of a stick."""
    from ..drivers.usb.temper import Temper

    return Temper(
        _lane(hass, data),
        data[CONF_CONTROLLER],
        data[CONF_PORTS],
        firmware=data.get(CONF_FIRMWARE),
        model=data.get(CONF_MODEL),
        shape=data.get(CONF_SHAPE),
        on_gone=on_gone,
    )


def _make_bme280(hass: HomeAssistant, data: EntryData, _: OnGone) -> Driver:
    """Return the driver of a BME280 or BMP280."""
    from ..drivers.i2c.bme280 import Bme280

    return _make_chip(Bme280, hass, data)


def _make_bme680(hass: HomeAssistant, data: EntryData, _: OnGone) -> Driver:
    """Return the driver of a BME680 or BME688."""
    from ..drivers.i2c.bme680 import Bme680

    return _make_chip(Bme680, hass, data)


def _make_chip(kind: type[BoschChip], hass: HomeAssistant, data: EntryData) -> Driver:
    """Return the driver of a chip, which nobody can tell is gone but by asking."""
    return kind(
        _lane(hass, data),
        data[CONF_ADAPTER],
        data[CONF_ADDRESS],
        adapter_name=data.get(CONF_ADAPTER_NAME),
        trimming_hash=data.get(CONF_TRIMMING_HASH),
    )


def _make_hidtemper(hass: HomeAssistant, data: EntryData, on_gone: OnGone) -> Driver:
    """Return the driver of a stick of the first generation."""
    from ..drivers.usb.hidtemper import HidTemper

    return HidTemper(
        _lane(hass, data),
        data[CONF_CONTROLLER],
        data[CONF_PORTS],
        model=data.get(CONF_MODEL),
        on_gone=on_gone,
    )


def _make_host(hass: HomeAssistant, data: EntryData, _: OnGone) -> Driver:
    """Return the driver of this machine."""
    from ..drivers.host import Host

    return Host(_lane(hass, data), Path(hass.config.config_dir))


def _make_stream(
    name: str, hass: HomeAssistant, data: EntryData, on_gone: OnGone
) -> Driver:
    """Return the driver of a device that reports by itself."""
    module = import_module(module_of(name))
    lane, controller, ports = _lane(hass, data), data[CONF_CONTROLLER], data[CONF_PORTS]
    driver: Driver = module.make(lane, controller, ports, on_gone)
    return driver


def _make_temperx232(hass: HomeAssistant, data: EntryData, on_gone: OnGone) -> Driver:
    """Return the driver of a stick that is a serial port."""
    from ..drivers.usb.temperx232 import TemperX232

    return TemperX232(
        _lane(hass, data),
        data[CONF_CONTROLLER],
        data[CONF_PORTS],
        firmware=data.get(CONF_FIRMWARE),
        on_gone=on_gone,
    )


_KINDS: Final = {
    KIND_BME280: Kind(
        attachment=lambda data: i2c_attachment(data[CONF_ADAPTER], data[CONF_ADDRESS]),
        driver="bme280",
        # The name is remembered, as there is no place to read it from without adapter.
        place=lambda data: i2c_place(
            data.get(CONF_ADAPTER_NAME, data[CONF_ADAPTER]), data[CONF_ADDRESS]
        ),
        port=lambda data: i2c_port(data[CONF_ADAPTER]),
    ),
    KIND_HOST: Kind(
        attachment=lambda _: KIND_HOST,
        driver="host",
        place=lambda _: HOST_PLACE,
        port=lambda _: KIND_HOST,
    ),
    KIND_USB: Kind(
        attachment=lambda data: usb_attachment(data[CONF_CONTROLLER], data[CONF_PORTS]),
        driver="temper",
        place=lambda data: usb_place(data[CONF_CONTROLLER], data[CONF_PORTS]),
        port=lambda data: usb_attachment(data[CONF_CONTROLLER], data[CONF_PORTS]),
    ),
}
# By the name of the driver's module, which is imported only where it is needed.
_MAKERS: Final[dict[str, Callable[[HomeAssistant, EntryData, OnGone], Driver]]] = {
    "bme280": _make_bme280,
    "bme680": _make_bme680,
    "diamex": partial(_make_stream, "diamex"),
    "gotemp": partial(_make_stream, "gotemp"),
    "host": _make_host,
    "hidtemper": _make_hidtemper,
    "lascar": partial(_make_stream, "lascar"),
    "temper": _make_temper,
    "temperx232": _make_temperx232,
    "zytemp": partial(_make_stream, "zytemp"),
}


def driver_name(data: EntryData) -> str:
    """Return the name of a device's driver."""
    name: str = data.get(CONF_DRIVER, _KINDS[data[CONF_KIND]].driver)
    return name


def attachment(data: EntryData) -> str:
    """Return what identifies the place of a device."""
    return _KINDS[data[CONF_KIND]].attachment(data)


def place(data: EntryData) -> str:
    """Return the place of a device for people."""
    return _KINDS[data[CONF_KIND]].place(data)


def port(data: EntryData) -> str:
    """Return the plug or bus that a device comes and goes with."""
    return _KINDS[data[CONF_KIND]].port(data)


async def async_import_drivers(hass: HomeAssistant, names: Iterable[str]) -> None:
    """Import some drivers, before anything else is asked of them."""
    for name in names:
        await async_import_module(hass, module_of(name))


def async_make_driver(
    hass: HomeAssistant, data: EntryData, on_gone: OnGone = lambda: None
) -> Driver:
    """Return a driver; on_gone is called when its device is pulled out."""
    return _MAKERS[driver_name(data)](hass, data, on_gone)


def _lane(hass: HomeAssistant, data: EntryData) -> Lane:
    """Return the way of a device to the workers."""
    return async_lane(hass, attachment(data))


def async_lane(hass: HomeAssistant, name: str) -> Lane:
    """Return the way of a device, a bus or a task to the workers, always the same.

    What hangs is left to end, and costs one worker however often it is tried anew.
    """
    lanes = hass.data.setdefault(DATA_LANES, {})
    if (lane := lanes.get(name)) is None:
        lane = lanes[name] = Lane(_async_workers(hass))
    return lane


def _async_workers(hass: HomeAssistant) -> Workers:
    """Return the workers, which end with Home Assistant."""
    if (workers := hass.data.get(DATA_WORKERS)) is None:
        hass.data[DATA_WORKERS] = workers = Workers()

        async def close(_: Event) -> None:
            workers.close()
            await hass.async_add_executor_job(workers.join)

        hass.bus.async_listen_once(EVENT_HOMEASSISTANT_CLOSE, close)
    return workers
