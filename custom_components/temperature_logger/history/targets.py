"""Finds the devices of targets, and their entities that a user may read."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from homeassistant.auth.models import User
from homeassistant.auth.permissions import filter_entity_ids_by_permission
from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.const import ENTITY_MATCH_ALL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.target import (
    SelectedEntities,
    TargetSelection,
    async_extract_referenced_entity_ids,
)

from ..const import DOMAIN, Refusal
from ..drivers import in_order, is_quantity
from ..translation import invalid


class Target(NamedTuple):
    """A device, with its selected entities."""

    device_id: str
    name: str
    entities: dict[str, str]
    """The entity id of each quantity."""


@callback
def quantity_of(entry: er.RegistryEntry) -> str | None:
    """Return the quantity that an entity shows; None if it shows no reading."""
    if entry.platform != DOMAIN or entry.config_entry_id is None:
        return None
    quantity = entry.unique_id.removeprefix(f"{entry.config_entry_id}_")
    return quantity if is_quantity(quantity) else None


@callback
def async_reading_entries(hass: HomeAssistant) -> list[er.RegistryEntry]:
    """Return all entities of this integration that show a reading."""
    return [
        entry
        for entry in er.async_get(hass).entities.values()
        if quantity_of(entry) is not None
    ]


@callback
def async_targets(
    hass: HomeAssistant, selection: TargetSelection, user: User | None
) -> list[Target]:
    """Return the selected devices, without entities that the user may not read.

    Raises ServiceValidationError for a target that does not exist or has no readings.
    """
    registry = er.async_get(hass)
    entity_ids = _selected(hass, registry, selection)
    if user is not None:
        entity_ids = set(filter_entity_ids_by_permission(user, entity_ids, POLICY_READ))
    return _targets(hass, entity_ids)


def _targets(hass: HomeAssistant, entity_ids: Iterable[str]) -> list[Target]:
    """Group the entities that show a reading by their devices."""
    registry = er.async_get(hass)
    entities: dict[str, dict[str, str]] = {}
    for entity_id in entity_ids:
        entry = registry.async_get(entity_id)
        if entry is None or entry.device_id is None:
            continue
        if (quantity := quantity_of(entry)) is not None:
            entities.setdefault(entry.device_id, {})[quantity] = entity_id
    targets = [
        Target(device_id, _name(hass, device_id), {q: ids[q] for q in in_order(ids)})
        for device_id, ids in entities.items()
    ]
    return sorted(targets, key=lambda target: (target.name, target.device_id))


@callback
def async_chosen(
    hass: HomeAssistant, devices: Collection[str], labels: Collection[str]
) -> list[Target]:
    """Return the devices with one of these ids or labels; all devices without any.

    Ids and labels that do not exist any more are ignored.
    """
    entries = async_reading_entries(hass)
    if devices or labels:
        selection = TargetSelection({"device_id": [*devices], "label_id": [*labels]})
        selected = async_extract_referenced_entity_ids(
            hass, selection, expand_group=False, primary_entities_only=False
        )
        # The selection omits hidden and disabled entities. Their readings are included
        # here.
        entries = [
            entry
            for entry in entries
            if entry.device_id in selected.referenced_devices
            or entry.entity_id in selected.indirectly_referenced
            or not entry.labels.isdisjoint(labels)
        ]
    return _targets(hass, (entry.entity_id for entry in entries))


def _selected(
    hass: HomeAssistant, registry: er.EntityRegistry, selection: TargetSelection
) -> set[str]:
    """Return the ids of the selected entities."""
    if ENTITY_MATCH_ALL in selection.entity_ids:
        return {entry.entity_id for entry in async_reading_entries(hass)}
    selected = async_extract_referenced_entity_ids(
        hass, selection, expand_group=False, primary_entities_only=False
    )
    _refuse_unknown(hass, registry, selected)
    return selected.referenced | selected.indirectly_referenced


def _refuse_unknown(
    hass: HomeAssistant, registry: er.EntityRegistry, selected: SelectedEntities
) -> None:
    """Raise ServiceValidationError for a target that is missing or has no reading."""
    unknown = {
        entity_id
        for entity_id in selected.referenced
        if entity_id not in registry.entities and hass.states.get(entity_id) is None
    }
    missing = (
        unknown
        | selected.missing_areas
        | selected.missing_devices
        | selected.missing_floors
        | selected.missing_labels
    )
    if missing:
        raise invalid(Refusal.TARGET_NOT_FOUND, targets=", ".join(sorted(missing)))
    for entity_id in sorted(selected.referenced):
        entry = registry.async_get(entity_id)
        if entry is None or quantity_of(entry) is None:
            raise invalid(Refusal.NOT_A_READING, entity=entity_id)


def _name(hass: HomeAssistant, device_id: str) -> str:
    """Return the name that the user gave a device, or else its default name."""
    device = dr.async_get(hass).async_get(device_id)
    return (device.name_by_user or device.name or "") if device else ""
