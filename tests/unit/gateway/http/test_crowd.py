from services.gateway.http.crowd import Bounds, Crowd

BOUNDS = Bounds(connections=4, per_address=2, patience_s=1)


def verdicts(*addresses: str) -> list[str]:
    crowd = Crowd(BOUNDS)
    return [crowd.enter(address) for address in addresses]


def test_one_machine_may_hold_so_many_connections_and_no_more():
    assert verdicts(*["10.0.0.7"] * 4) == ["welcome", "welcome", "surplus", "turned away"]


def test_others_are_served_beside_it():
    assert verdicts("10.0.0.7", "10.0.0.7", "10.0.0.8", "10.0.0.8")[-1] == "welcome"


def test_this_machine_may_hold_as_many_as_there_are():
    served = ["welcome"] * 4
    assert verdicts(*["127.0.0.1"] * 7) == [*served, "surplus", "surplus", "turned away"]


def test_who_leaves_makes_room():
    crowd = Crowd(BOUNDS)
    for _ in range(9):
        assert crowd.enter("10.0.0.7") == "welcome"
        crowd.leave("10.0.0.7")
