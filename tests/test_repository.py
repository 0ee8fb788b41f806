"""The files of the repository agree with each other."""

import ast
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
import json
from pathlib import Path
import re
from string import Formatter
import tomllib
from typing import Any

from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.temperature_logger import const
from custom_components.temperature_logger.devices.faults import (
    REPAIR_AFTER_MINUTE,
    REPAIRS,
)
from custom_components.temperature_logger.devices.options_flow import (
    CONF_PROBE,
    GUARD_DEFAULTS,
    LIMIT_PLACEHOLDERS,
    MAX_FACTOR,
    MIN_FACTOR,
    PROBE_QUANTITIES,
)
from custom_components.temperature_logger.devices.value_faults import VALUES_INVALID
from custom_components.temperature_logger.discovery import STICK_MOVED
from custom_components.temperature_logger.discovery.forms import Hint
from custom_components.temperature_logger.disk_guard.decision import Outcome
from custom_components.temperature_logger.disk_guard.entities import THINNED_SENSOR
from custom_components.temperature_logger.drivers import Fault
from custom_components.temperature_logger.drivers.readings import (
    QUANTITIES,
    is_quantity,
)
from custom_components.temperature_logger.drivers.usb.models import USB_IDS
from custom_components.temperature_logger.history.retention import Shortfall
from custom_components.temperature_logger.sensor import (
    PROBE_KEY,
    describe,
)
from custom_components.temperature_logger.units import BASE_QUANTITIES, base_quantity
from custom_components.temperature_logger.uploader import expiry, flow, settings
from custom_components.temperature_logger.uploader.endpoints import (
    ENDPOINTS,
    EndpointProtocol,
)
from custom_components.temperature_logger.uploader.entities import ENDPOINT_SENSORS
from custom_components.temperature_logger.uploader.errors import Failure

ROOT = Path(__file__).parent.parent
COMPONENT = ROOT / "custom_components/temperature_logger"
ALWAYS = {"place"}
"""The placeholders that every text of a fault gets."""
NAMES_OF_EACH_MODULE = {
    "LATE": "each package lists its own names, for tests/structure.py",
    "PARALLEL_UPDATES": "Home Assistant reads it from each platform",
}
"""Constants whose name is given, and why."""
FOLDERS = ("benchmarks", "custom_components", "development", "emulation", "tests")
"""The folders of Python code."""
MAX_FUNCTION_LINES, MAX_CLASS_LINES = 40, 199
"""The limits of a definition, with its docstring and without its decorators."""

type Definition = ast.AsyncFunctionDef | ast.ClassDef | ast.FunctionDef


@pytest.fixture(name="texts")
def texts_fixture() -> dict[str, Any]:
    """Return the translations."""
    texts: dict[str, Any] = json.loads((COMPONENT / "translations/en.json").read_text())
    return texts


def leaves(tree: dict[str, Any] | str) -> list[str]:
    """Return all texts."""
    if isinstance(tree, str):
        return [tree]
    return [text for branch in tree.values() for text in leaves(branch)]


def placeholders(text: str) -> set[str]:
    """Return the names in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def details(kind: type[StrEnum] = Fault) -> dict[str, set[str]]:
    """Return the details that are given with each fault or failure."""
    given: dict[str, set[str]] = {}
    for path in COMPONENT.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            fault = call.args[0]
            if isinstance(fault, ast.Attribute) and fault.attr in kind.__members__:
                names = {keyword.arg for keyword in call.keywords if keyword.arg}
                given.setdefault(kind[fault.attr], names).intersection_update(names)
    return given


def calibration_fields(quantities: Iterable[str]) -> set[str]:
    """Return the names of the fields that calibrate some quantities."""
    bases = {quantity: base_quantity(quantity) for quantity in quantities}
    offsets = {f"{q}_offset" for q, base in bases.items() if base.max_offset}
    return offsets | {f"{q}_factor" for q, base in bases.items() if base.has_factor}


def constants(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the constants of a module, with the expressions of their values."""
    for node in module.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for name in (name for target in targets for name in ast.walk(target)):
            if isinstance(name, ast.Name) and name.id.isupper() and node.value:
                yield name.id, ast.unparse(node.value)


def types(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the classes and type aliases of a module, with their code."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, ast.unparse(node)
        elif isinstance(node, ast.TypeAlias):
            yield ast.unparse(node.name), ast.unparse(node)


@pytest.mark.parametrize("definitions", [constants, types])
def test_a_name_has_one_meaning(
    definitions: Callable[[ast.Module], Iterator[tuple[str, str]]],
) -> None:
    """Modules that define a constant or a type of the same name define it equally."""
    meanings: dict[str, set[str]] = {}
    for path in COMPONENT.rglob("*.py"):
        for name, meaning in definitions(ast.parse(path.read_text())):
            meanings.setdefault(name, set()).add(meaning)
    ambiguous = {name for name in meanings if len(meanings[name]) > 1}
    assert ambiguous <= NAMES_OF_EACH_MODULE.keys()


def is_too_long(node: Definition) -> bool:
    """Return whether a function or class exceeds its limit."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    is_class = isinstance(node, ast.ClassDef)
    return lines > (MAX_CLASS_LINES if is_class else MAX_FUNCTION_LINES)


@pytest.mark.parametrize("folder", FOLDERS)
def test_definitions_are_short(folder: str) -> None:
    """Each function has at most 40 lines, each class fewer than 200."""
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.AsyncFunctionDef, ast.ClassDef, ast.FunctionDef))
        and is_too_long(node)
    ]
    assert not too_long


def test_every_fault_has_a_text(texts: dict[str, Any]) -> None:
    """Each fault has a text, and each text has a fault."""
    assert set(texts["exceptions"]) == {*Fault, *Hint, *const.Refusal, *Failure}
    keys = {repair.key for repair in REPAIRS.values()}
    others = {STICK_MOVED, VALUES_INVALID, *Outcome, *Shortfall, *expiry.ISSUES}
    assert set(texts["issues"]) == keys | others


def test_access_has_a_remedy_on_every_system(texts: dict[str, Any]) -> None:
    """A stick without access has a remedy for each way to run Home Assistant."""
    keys = {
        repair.key for repair in REPAIRS.values() if repair.after == REPAIR_AFTER_MINUTE
    }
    assert keys == {
        "address_held",
        "bus_disabled",
        "bus_no_node",
        "no_libusb",
        "no_node",
        "no_permission",
        "no_port",
    }
    for key in keys:
        text = texts["issues"][key]["description"]
        remedies = re.findall(r"^- \*\*(.+):\*\* \S", text, re.MULTILINE)
        assert remedies == ["Home Assistant OS", "Container", "Core"], key


def test_texts_get_their_placeholders(texts: dict[str, Any]) -> None:
    """A text quotes only the details of its faults."""
    given = details()
    for fault in Fault:
        message = texts["exceptions"][fault]["message"]
        assert placeholders(message) <= given.get(fault, set()) | ALWAYS, fault
        assert texts["config"]["error"][fault] == message
    for fault, repair in REPAIRS.items():
        allowed = given.get(fault, set()) | ALWAYS | {"device"}
        assert all(
            placeholders(text) <= allowed
            for text in leaves(texts["issues"][repair.key])
        ), fault


def test_texts_of_refusals_get_what_they_quote(texts: dict[str, Any]) -> None:
    """The text of a refusal quotes exactly the details that are given with it."""
    given = details(const.Refusal)
    for refusal in const.Refusal:
        message = texts["exceptions"][refusal]["message"]
        assert placeholders(message) == given[refusal], refusal


def test_texts_of_endpoints_get_what_they_quote(texts: dict[str, Any]) -> None:
    """Details that a failure is raised without are part of every answer."""
    answered = {"url", "status", "answer"}
    given = dict.fromkeys(Failure, answered) | details(Failure)
    for failure in Failure:
        message = texts["exceptions"][failure]["message"]
        assert placeholders(message) <= given[failure], failure
    shown = {"header", "endpoint", "example"}
    shown |= answered | {"error", "missing"}
    faults = {*Fault, Hint.BUS_SET_UP, Hint.OTHER_MODEL}
    for protocol in EndpointProtocol:
        step = texts["config"]["step"][protocol]
        names = {name for text in leaves(step) for name in placeholders(text)}
        assert names == {"example"}
    assert {
        name
        for key, text in texts["config"]["error"].items()
        for name in placeholders(text)
        if key not in faults
    } == shown


def test_forms_of_endpoints_show_failures(texts: dict[str, Any]) -> None:
    """A form shows the sentence of the exception, as the error with the same key.

    It has no other placeholders, so the form can show the error with the details.
    """
    refusals = const.Refusal.RECORDER_CHANGED, const.Refusal.RECORDER_FAILED
    for key in (*Failure, *refusals):
        text = texts["config"]["error"][key]
        assert text == texts["exceptions"][key]["message"]
        assert "'{" not in text  # The frontend would show the name in braces.


def test_forms_of_endpoints_name_their_fields(texts: dict[str, Any]) -> None:
    """Each field of each form has a name and a description."""
    steps = texts["config"]["step"]
    for protocol in EndpointProtocol:
        fields = flow.server_schema(protocol, is_new=True).schema
        step = steps[protocol]
        named = {str(name) for name in fields} - {settings.ADVANCED}
        assert named == set(step["data"]) == set(step["data_description"])
        own = step["sections"][settings.ADVANCED]
        named = {str(name) for name in fields[settings.ADVANCED].schema.schema}
        assert named == set(own["data"]) == set(own["data_description"])
    login = {name for endpoint in ENDPOINTS.values() for name in endpoint.login_fields}
    reauth = steps["reauth_confirm"]
    assert login == set(reauth["data"]) == set(reauth["data_description"])
    menu = steps["endpoint"]
    assert set(EndpointProtocol) == set(ENDPOINTS) == set(menu["menu_options"])
    assert set(EndpointProtocol) == set(menu["menu_option_descriptions"])
    for protocol in EndpointProtocol:
        assert hasattr(flow.EndpointFlow, f"async_step_{protocol}")


def test_entities_of_endpoints_are_not_readings() -> None:
    """Entities of endpoints are not sent, thinned or returned with the readings."""
    for sensor in ENDPOINT_SENSORS:
        assert not is_quantity(sensor.key)
    classes = {describe(quantity).device_class for quantity in QUANTITIES} - {None}
    assert set(flow.DEVICE_CLASSES) == classes


def test_texts_quote_addresses(texts: dict[str, Any]) -> None:
    """Each URL is a placeholder, so that a translator cannot change it."""
    assert not [text for text in leaves(texts) if "://" in text]


def test_no_text_is_blank(texts: dict[str, Any]) -> None:
    """Every text has content."""
    assert all(text.strip() for text in leaves(texts))


def test_every_quantity_has_its_names(texts: dict[str, Any]) -> None:
    """Sensors and options know the fields of a reading."""
    sensors = [describe(quantity) for quantity in QUANTITIES]
    assert [sensor.key for sensor in sensors] == list(QUANTITIES)
    keys = {sensor.translation_key for sensor in sensors if sensor.translation_key}
    endpoint = {sensor.key for sensor in ENDPOINT_SENSORS}
    assert (
        set(texts["entity"]["sensor"])
        == keys | {PROBE_KEY, THINNED_SENSOR.key} | endpoint
    )
    fields = {
        "endpoint": {const.CONF_BATCH_SIZE, const.CONF_DEVICES, const.CONF_LABELS},
        "init": {
            *(const.CONF_INTERVAL, CONF_PROBE, *GUARD_DEFAULTS),
            *calibration_fields(QUANTITIES),
        },
        "probe": calibration_fields(PROBE_QUANTITIES),
    }
    for name, step in texts["options"]["step"].items():
        assert set(step["data"]) == set(step["data_description"]) == fields.pop(name)
    assert not fields


def test_texts_name_the_limits(texts: dict[str, Any]) -> None:
    """The limits in the texts are those in the code."""
    errors = texts["options"]["error"]
    limits = {
        name: base.max_offset
        for name, base in BASE_QUANTITIES.items()
        if base.max_offset is not None
    }
    assert limits
    for quantity, limit in limits.items():
        text = errors[f"{quantity}_offset_out_of_range"]
        assert f"between -{limit:g} and {limit:g}" in text
    given = {*LIMIT_PLACEHOLDERS, *flow.BATCH_SIZE_PLACEHOLDERS, CONF_PROBE}
    assert all(placeholders(text) <= given for text in leaves(texts["options"]))
    assert MIN_FACTOR < 1 < MAX_FACTOR


def test_readme_has_the_numbers() -> None:
    """The README states the numbers of the code."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    default = const.DEFAULT_INTERVAL
    limits = f"{const.MIN_INTERVAL} to {const.MAX_INTERVAL}"
    assert f"| Interval | {default} s | {limits} s | Time between" in readme
    assert f"polls each device every **{default} seconds**" in readme
    assert f"choose from {limits} seconds in its options" in readme


def test_readme_has_every_usb_id() -> None:
    """The tables name each id, and the udev rule lets Home Assistant use its nodes."""
    readme = (ROOT / "README.md").read_text()
    rule = 'ATTRS{{idVendor}}=="{}", ATTRS{{idProduct}}=="[^"]*{}[^"]*", GROUP'
    for vendor, product in USB_IDS:
        ids = f"{vendor:04x}", f"{product:04x}"
        assert re.search(rf"^\| .*{':'.join(ids)}", readme, re.MULTILINE), ids
        assert re.search(rule.format(*ids), readme), ids


def test_readme_has_every_message(texts: dict[str, Any]) -> None:
    """The troubleshooting section has each message, by its first sentence."""
    readme = (ROOT / "README.md").read_text()
    for key, text in texts["exceptions"].items():
        sentence = re.split(r"(?<=\.)\s", re.sub(r"{\w+}", "…", text["message"]))[0]
        assert sentence in readme, key


def test_manifest_is_ordered_and_true() -> None:
    """Domain and name come first, the rest in order; the quality tier is reached."""
    manifest = json.loads((COMPONENT / "manifest.json").read_text())
    keys = list(manifest)
    assert keys == ["domain", "name", *sorted(set(keys) - {"domain", "name"})]
    assert manifest["domain"] == const.DOMAIN
    rules = load_yaml_dict(str(COMPONENT / "quality_scale.yaml"))["rules"]
    assert not [name for name, rule in rules.items() if "todo" in str(rule)]
    assert manifest["quality_scale"] == "platinum"


def test_wheel_of_the_drivers_agrees_with_the_manifest() -> None:
    """The wheel needs the requirements of the manifest and of Home Assistant's usb."""
    project = tomllib.loads((ROOT / "packaging/drivers/pyproject.toml").read_text())
    manifest = json.loads((COMPONENT / "manifest.json").read_text())
    required = {re.split("[=>]", line)[0] for line in manifest["requirements"]}
    assert set(project["project"]["dependencies"]) == required | {"serialx"}
    assert project["project"]["version"] == manifest["version"]


def test_pages_name_what_is_there() -> None:
    """The pages for developers name files, tables and constants that exist."""
    pages = (ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md")
    text = "\n".join(page.read_text() for page in pages)
    files = set(re.findall(r"`([\w./-]+\.(?:json|md|py|toml|yaml))`", text))
    folders = (ROOT, COMPONENT)
    assert not [
        name
        for name in sorted(files - {"config/machine.json"})
        if "NAME" not in name and not any((f / name).is_file() for f in folders)
    ]
    code = "\n".join(
        path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )
    quoted = " ".join(re.findall(r"`([^`\n]+)`", text))
    constants = {
        *re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", quoted),
        *re.findall(r"`([A-Z]{4,})`", text),
    } - {"NAME"}
    assert not [name for name in sorted(constants) if name not in code]
