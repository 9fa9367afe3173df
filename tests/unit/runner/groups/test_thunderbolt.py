"""What macOS says of Thunderbolt ports, in the words of its own programs; ids are made up."""

import json
from typing import Any

import pytest

from proto.examination import ThunderboltPort
from services.runner.groups.thunderbolt import thunderbolt_ports

MINE = ("0A1B2C3D-0000-4000-8000-00000000000", "7E8F9A0B-0000-4000-8000-00000000000")
INTERFACES = """
Hardware Port: Ethernet
Device: en0
Ethernet Address: d0:11:e5:00:00:01

Hardware Port: Thunderbolt 1
Device: en2
Ethernet Address: 36:aa:00:00:00:40

Hardware Port: Thunderbolt 2
Device: en3
Ethernet Address: 36:aa:00:00:00:44

Hardware Port: Thunderbolt Bridge
Device: bridge0
Ethernet Address: 36:aa:00:00:00:40

Hardware Port: Wi-Fi
Device: en1
Ethernet Address: d0:11:e5:00:00:02

VLAN Configurations
===================
"""


def bus(number: str, domain: str, *items: dict[str, Any], speed: str = "Up to 80 Gb/s") -> Any:
    is_used = "receptacle_connected" if items else "receptacle_no_devices_connected"
    found: dict[str, Any] = {
        "_name": f"thunderboltusb4_bus_{int(number) - 1}",
        "device_name_key": "Mac Studio",
        "domain_uuid_key": domain,
        "receptacle_1_tag": {
            "current_speed_key": speed,
            "link_status_key": "0x2" if items else "0x7",
            "receptacle_id_key": number,
            "receptacle_status_key": is_used,
        },
        "route_string_key": "0",
        "switch_uid_key": "0x05AC1234567890A0",
        "vendor_name_key": "Apple Inc.",
    }
    return found | ({"_items": list(items)} if items else {})


def mac(domain: str) -> dict[str, Any]:
    return {
        "_name": "Mac Studio",
        "device_name_key": "Mac Studio",
        "domain_uuid_key": domain,
        "mode_key": "usb_four",
        "vendor_name_key": "Apple Inc.",
    }


def dock(*behind: dict[str, Any]) -> dict[str, Any]:
    found = {"_name": "Dock", "device_name_key": "Dock", "switch_uid_key": "0x00"}
    return found | ({"_items": list(behind)} if behind else {})


async def ports(*buses: Any, interfaces: str = INTERFACES) -> tuple[ThunderboltPort, ...]:
    async def run(*command: str) -> str:
        if command == ("system_profiler", "SPThunderboltDataType", "-json"):
            return json.dumps({"SPThunderboltDataType": list(buses)})
        assert command == ("networksetup", "-listallhardwareports")
        return interfaces

    return await thunderbolt_ports(run)


async def test_a_port_is_told_with_its_rdma_device_and_the_mac_at_the_other_end() -> None:
    idle, cabled = await ports(
        bus("2", MINE[0] + "2", mac("ffff0000-0000-4000-8000-000000000009")),
        bus("1", MINE[0] + "1"),
    )

    assert (idle.port, idle.device, idle.peer, idle.attached) == ("1", "rdma_en2", "", "")
    assert (cabled.port, cabled.device) == ("2", "rdma_en3")
    assert cabled.peer == "FFFF0000-0000-4000-8000-000000000009"
    assert (cabled.attached, cabled.speed) == ("Mac Studio", "Up to 80 Gb/s")


async def test_a_mac_behind_a_dock_is_not_at_the_end_of_our_cable() -> None:
    (port,) = await ports(bus("1", MINE[0] + "1", dock(mac(MINE[1] + "1"))))

    assert (port.attached, port.peer) == ("Dock", "")


async def test_a_port_without_a_network_interface_has_no_device() -> None:
    (port,) = await ports(bus("4", MINE[0] + "4"))

    assert port.device == ""


@pytest.mark.parametrize(
    "said",
    ["", "no json", "[]", "{}", '{"SPThunderboltDataType":{}}', '{"SPThunderboltDataType":[1]}',
     '{"SPThunderboltDataType":[{"_name":"usb_bus"}]}',
     '{"SPThunderboltDataType":[{"domain_uuid_key":"x","receptacle_1_tag":{}}]}'],
)  # fmt: skip
async def test_what_cannot_be_read_is_no_port(said: str) -> None:
    async def run(*command: str) -> str:
        return said if command[0] == "system_profiler" else INTERFACES

    assert await thunderbolt_ports(run) == ()
