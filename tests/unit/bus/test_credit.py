"""An engine holds when a window of frames waits for a client, and goes on when it has read them."""

from bus.credit import HOLD_S, REPEAT_S, WINDOW, Credit


def test_a_client_that_keeps_up_costs_no_message():
    assert Credit().due(WINDOW, 1.0) is None


def test_beyond_the_window_the_engine_holds():
    credit = Credit()

    assert credit.due(WINDOW + 1, 1.0) == HOLD_S
    assert credit.is_held


def test_it_is_said_again_well_before_it_runs_out():
    credit = Credit()
    credit.due(WINDOW + 1, 1.0)

    assert credit.due(WINDOW + 1, 1.0 + REPEAT_S / 2) is None
    assert credit.due(WINDOW + 1, 1.0 + REPEAT_S) == HOLD_S
    assert 2 * REPEAT_S < HOLD_S, "two that are lost are bad luck"


def test_a_client_that_read_all_lets_it_go_on_once():
    credit = Credit()
    credit.due(WINDOW + 1, 1.0)

    assert credit.due(1, 1.1) is None
    assert credit.due(0, 1.2) == 0
    assert credit.due(0, 9.0) is None
    assert not credit.is_held
