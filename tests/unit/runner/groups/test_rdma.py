"""What the system's programs say of RDMA devices."""

from services.runner.groups.rdma import listed, ports

SAID = """\
hca_id:	rdma_en2
	transport:			Thunderbolt (1)
	fw_ver:				0.0
	node_guid:			5e9b:4f21:c806:0001
	phys_port_cnt:			1
		port:	1
			state:			PORT_ACTIVE (4)
			max_mtu:		4096 (5)
			link_layer:		Ethernet

hca_id:	rdma_en3
	transport:			Thunderbolt (1)
	phys_port_cnt:			1
		port:	1
			state:			PORT_DOWN (1)
			link_layer:		Ethernet
"""


def test_devices_are_listed_with_the_state_of_their_port() -> None:
    assert [(port.device, port.state) for port in listed(SAID)] == [
        ("rdma_en2", "active"),
        ("rdma_en3", "down"),
    ]


async def test_a_machine_without_rdma_has_none() -> None:
    async def nothing(*command: str) -> str:
        assert command == ("ibv_devinfo",)
        return ""

    assert await ports(nothing) == ()
    assert list(listed("No IB devices found\n")) == []
