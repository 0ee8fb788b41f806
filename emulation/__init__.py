"""Emulated sensors below unmodified drivers.

USB sticks are emulated at the level of HID reports, I2C chips at the level of
registers, and both have the sysfs tree and the device nodes that the kernel would
give them, below a folder of their own. The machine's own sensors are attributes in
that tree. A machine is described in JSON:

    {"usb": [{"name": "stick", "model": "TEMPer2_V4.1",
              "controller": "pci0000:00/0000:00:14.0", "bus": 1, "ports": "1.4",
              "temperature": 19.87, "external_temperature": null}],
     "i2c": [{"bus": 1, "adapter": "bcm2835", "of_node": "soc/i2c@7e804000",
              "chips": [{"name": "chip", "address": "0x76", "chip_id": "0x60",
                         "calibration": 0, "temperature": 21.5,
                         "pressure": 1013.25, "humidity": 45.0}]}],
     "hwmon": [{"driver": "coretemp", "sensors": [
         {"label": "Package id 0", "temperature": 48.0}]}]}

A value is a number, null (nothing is plugged in there) or, for one that follows the
sun, {"mean": 21.0, "daily": 2.5}. The models are those of sticks.MODELS,
streams.MODELS, serial.MODELS and control.MODELS. Optional:

    stick    vid, pid, manufacturer, product, firmware, layout, latency_ms, gap_ms;
             reports, firmware_reports: what it answers, in hexadecimal;
             plugged: false; bound: false (the data interface has no driver);
             hidraw_nodes: false; hidraw_mode, usbfs_mode: "660"
    chip     chip_id: "0x60" (BME280), "0x58" (BMP280) or "0x61"; of the last, variant:
             0 (BME680) or 1 (BME688)
    stream   encrypted: true; humidity_id: "0x44";
             probes: {"285ebf799715039b": 21.5} (by their ROM codes)
    bus      path: of its parent below /sys/devices; node: false; mode: "660";
             usb: "stick", interface: 2 (it is on that USB device, comes and goes with
             it, and gets the lowest number from 3 on that is free; in its adapter's
             name are {bus:03}, {device:03} and {hidraw});
             held: {"0x76": "bmp280"} (addresses of kernel drivers);
             mux: {"bus": 1, "address": "0x70"} (the multiplexer it is a channel of)
    hwmon    zone: true (a thermal zone)
    all      fault: "timeout", or {"name": "short", "argument": 3, "count": 1}
"""
