"""The place and the driver of a config entry's device."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_CLOSE
from homeassistant.core import Event, HomeAssistant
from homeassistant.helpers.importlib import async_import_module

from ..const import (
    CONF_ADAPTER,
    CONF_ADAPTER_NAME,
    CONF_CONTROLLER,
    CONF_DRIVER,
    CONF_FOLDER,
    CONF_KIND,
    CONF_PORTS,
    KIND_BME280,
    KIND_HOST,
    KIND_USB,
)
from ..drivers import (
    HOST,
    Driver,
    I2cPlace,
    Place,
    UsbPlace,
    Workers,
    driver_class,
    module_of,
)
from ..shared import shared_object
from ..translation import async_label, async_text

type EntryData = Mapping[str, Any]

# For entries without a driver name, from the time when each kind had one driver.
DEFAULT_DRIVERS: Final = {KIND_BME280: "bme280", KIND_HOST: "host", KIND_USB: "temper"}


def place_of(data: EntryData) -> Place:
    """Return the place of a device."""
    kind = data[CONF_KIND]
    if kind == KIND_USB:
        return UsbPlace(data[CONF_CONTROLLER], data[CONF_PORTS])
    if kind == KIND_BME280:
        bus = data.get(CONF_ADAPTER_NAME, "")
        return I2cPlace(data[CONF_ADAPTER], data[CONF_ADDRESS], bus)
    return HOST


def place_data(hass: HomeAssistant, place: Place) -> dict[str, Any]:
    """Return the part of an entry's data that stores the place of its device."""
    match place:
        case UsbPlace():
            return {
                CONF_KIND: KIND_USB,
                CONF_CONTROLLER: place.controller,
                CONF_PORTS: place.ports,
            }
        case I2cPlace():
            return {
                CONF_KIND: KIND_BME280,
                CONF_ADAPTER: place.adapter,
                CONF_ADAPTER_NAME: async_label(hass, place.bus or place.adapter),
                CONF_ADDRESS: place.address,
            }
    return {CONF_KIND: KIND_HOST}


def place_name(hass: HomeAssistant, data: EntryData) -> str:
    """Return the name of a device's place for the user."""
    return async_label(hass, place_of(data).label)


def driver_name(data: EntryData) -> str:
    """Return the name of a device's driver."""
    name: str = data.get(CONF_DRIVER, DEFAULT_DRIVERS[data[CONF_KIND]])
    return name


def model_name(hass: HomeAssistant, model: str) -> str:
    """Return the name of a model for the user; the machine itself has no model."""
    return model or async_text(hass, "this_machine")


async def async_import_drivers(hass: HomeAssistant, names: Iterable[str]) -> None:
    """Import the modules of drivers outside the event loop."""
    for name in names:
        await async_import_module(hass, module_of(name))


async def async_make_driver(
    hass: HomeAssistant, data: EntryData, on_gone: Callable[[], None] = lambda: None
) -> Driver:
    """Return a driver, which calls on_gone when its device is unplugged."""
    name = driver_name(data)
    await async_import_drivers(hass, [name])
    facts = {**data, CONF_FOLDER: hass.config.config_dir}
    place = place_of(data)
    lane = workers(hass).lane(place.id)
    driver: Driver = driver_class(name)(lane, place, facts, on_gone)
    return driver


def workers(hass: HomeAssistant) -> Workers:
    """Return the worker threads of all drivers, which end with Home Assistant."""
    return shared_object(hass, _start_workers)


def _start_workers(hass: HomeAssistant) -> Workers:
    """Make the workers; they end when Home Assistant closes."""
    shared = Workers()

    async def close(_: Event) -> None:
        shared.close()
        await hass.async_add_executor_job(shared.join)

    hass.bus.async_listen_once(EVENT_HOMEASSISTANT_CLOSE, close)
    return shared
