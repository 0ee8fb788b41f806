"""USB descriptors of the emulated devices."""

from dataclasses import dataclass
import struct

KEYBOARD_REPORT = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810195057501"
    "0508190129059102950175039101950675081500 25ff0507190029ff8100c0"
)
MOUSE_REPORT = bytes.fromhex(
    "05010902a1010901a1000509190129031500250195037501810295017505810105010930"
    "093109381581257f750895038106c0c0"
)
VENDOR_REPORT = bytes.fromhex(
    "0600ff0901a10109021500 26ff007508950881020903150026ff00750895089102c0"
)
"""Vendor page, 8 bytes in and 8 bytes out, no report numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """One interface of a device."""

    kind: tuple[int, int, int]
    """Class, subclass and protocol."""
    driver: str = "usbhid"
    """The kernel's driver for it."""
    report: bytes | None = None
    endpoints: tuple[tuple[int, int, int], ...] = ()
    """Address, transfer type (2: bulk, 3: interrupt) and packet size of each."""

    def descriptor(self, number: int) -> bytes:
        """Return the interface descriptor with its HID and endpoint descriptors."""
        parts = [struct.pack("9B", 9, 4, number, 0, len(self.endpoints), *self.kind, 0)]
        if self.report is not None:
            hid = (9, 0x21, 0x0110, 0, 1, 0x22, len(self.report))
            parts.append(struct.pack("<BBHBBBH", *hid))
        parts += [
            struct.pack("<BBBBHB", 7, 5, address, transfer, size, 10)
            for address, transfer, size in self.endpoints
        ]
        return b"".join(parts)


KEYBOARD = Interface(kind=(3, 1, 1), report=KEYBOARD_REPORT, endpoints=((0x81, 3, 8),))
MOUSE = Interface(kind=(3, 1, 2), report=MOUSE_REPORT, endpoints=((0x81, 3, 4),))
DATA = Interface(
    kind=(3, 0, 0), report=VENDOR_REPORT, endpoints=((0x82, 3, 8), (0x02, 3, 8))
)
DATA_0C45 = Interface(kind=(3, 1, 2), report=VENDOR_REPORT, endpoints=((0x82, 3, 8),))
"""Older sticks have no OUT endpoint and call the interface a boot mouse."""
HUB_INTERFACE = Interface(kind=(9, 0, 0), driver="hub", endpoints=((0x81, 3, 1),))
I2C_BRIDGE = Interface(kind=(0xFF, 0, 0), driver="i2c-tiny-usb")
HID_BRIDGE = Interface(
    kind=(3, 0, 0), report=VENDOR_REPORT, endpoints=((0x81, 3, 64), (0x01, 3, 64))
)
MODEM = Interface(kind=(2, 2, 1), driver="cdc_acm", endpoints=((0x82, 3, 8),))
MODEM_DATA = Interface(
    kind=(10, 0, 0), driver="cdc_acm", endpoints=((0x83, 2, 16), (0x03, 2, 16))
)
SERIAL = Interface(
    kind=(0xFF, 1, 2),
    driver="ch341",
    endpoints=((0x82, 2, 32), (0x02, 2, 32), (0x81, 3, 8)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gadget:
    """A USB device by its descriptors."""

    vid: int
    pid: int
    manufacturer: str = ""
    product: str = ""
    release: int = 0x0100
    usb: int = 0x0110
    device_class: int = 0
    speed: str = "1.5"
    interfaces: tuple[Interface, ...] = (KEYBOARD, DATA)

    def attributes(self) -> dict[str, str]:
        """Return the attributes in sysfs that come from the descriptors."""
        strings = {"manufacturer": self.manufacturer, "product": self.product}
        return {name: text for name, text in strings.items() if text} | {
            "idVendor": f"{self.vid:04x}",
            "idProduct": f"{self.pid:04x}",
            "bcdDevice": f"{self.release:04x}",
            "version": f"{self.usb >> 8:2x}.{self.usb & 0xFF:02x}",
            "speed": self.speed,
            "bDeviceClass": f"{self.device_class:02x}",
            "bDeviceSubClass": "00",
            "bDeviceProtocol": "00",
            "bMaxPacketSize0": "8",
            "bMaxPower": "100mA",
            "bmAttributes": "a0",
            "bNumConfigurations": "1",
            "bNumInterfaces": f"{len(self.interfaces):2}",
        }

    def device_descriptor(self) -> bytes:
        """Return the device descriptor."""
        return struct.pack(
            "<BBHBBBBHHHBBBB",
            *(18, 1, self.usb, self.device_class, 0, 0, 8),
            *(self.vid, self.pid, self.release),
            *(1 if self.manufacturer else 0, 2 if self.product else 0, 0, 1),
        )

    def configuration_descriptor(self) -> bytes:
        """Return the configuration descriptor with its interfaces and endpoints."""
        body = b"".join(i.descriptor(n) for n, i in enumerate(self.interfaces))
        count = len(self.interfaces)
        head = struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), count, 1, 0, 0xA0, 50)
        return head + body

    def string_descriptor(self, index: int) -> bytes | None:
        """Return a string descriptor, or None where the device stalls."""
        strings = (self.manufacturer, self.product)
        if index == 0:
            return bytes((4, 3, 9, 4)) if any(strings) else None
        if index > len(strings) or not strings[index - 1]:
            return None
        raw = strings[index - 1].encode("utf-16-le")
        return bytes((len(raw) + 2, 3)) + raw
