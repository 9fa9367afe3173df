"""What `odyssai bench scheduler` measures, at a size for tests."""

from ops.bench.scheduler import OPEN, REPLICAS, World, main, measure


async def test_every_decision_and_every_heartbeat_is_counted_once(bus):
    costs = await measure(bus, World(10), 50)

    assert (len(costs.decisions), len(costs.beats)) == (50, 50)
    assert min(costs.decisions) > 0


def test_the_simulated_load_is_the_same_for_every_size():
    for nodes in (10, 50):
        world = World(nodes)
        assert len(world.talks) == OPEN * nodes
        assert len({engine.model for engine in world.engines}) == nodes // REPLICAS


def test_a_quick_run_reports_every_size(capsys):
    main(["--quick", "--json"])

    told = capsys.readouterr().out
    assert '"10 nodes: decision, p99"' in told
    assert '"50 nodes: decision, p99"' in told
