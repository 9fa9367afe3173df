"""Names of things."""

from proto.ids import NodeId, engine_id, node_of


def test_an_engine_keeps_its_id_and_no_two_share_one() -> None:
    ids = {
        engine_id(NodeId("n"), s)
        for s in ("org/Model-1.5", "other/Model-1.5", "/models/Model-1.5/")
    }

    assert len(ids) == 3
    assert engine_id(NodeId("n"), "org/Model-1.5") in ids
    assert all(node_of(id) == "n" and id.count(".") == 1 and "/" not in id for id in ids)
