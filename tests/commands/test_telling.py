"""Lines for a job's log, a bar for a terminal."""

import pytest

from raincleave.commands.telling import telling
from raincleave.seldom import Seldom


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("raincleave.seldom.monotonic", lambda: now[0])
    return now


def test_seldom_at_ten_seconds_then_at_twice_as_many_up_to_ten_minutes_apart(clock):
    seldom, told = Seldom(), []
    for second in range(3000):
        clock[0] = 100 + second
        if seldom.is_time():
            told.append(second)
    assert told == [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440]
    assert seldom.passed == 2999
    assert seldom.left(1, 2) == "0:49:59 left"


def test_a_log_gets_lines(clock, capsys):
    with telling("scoring", 40) as tell:
        for done in range(1, 41):
            clock[0] += 1
            tell(done)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 10 of 40, 0:00:30 left",
        "scoring: 20 of 40, 0:00:20 left",
    ], "and nothing when all is done"


def test_the_number_may_be_known_late(clock, capsys):
    with telling("reading") as tell:
        clock[0] += 12
        tell(3, 12)
    assert capsys.readouterr().err == "reading: 3 of 12, 0:00:36 left\n"


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with telling("scoring", 4) as tell:
        tell(3)
    err = capsys.readouterr().err
    assert "scoring" in err
    assert "3/4" in err
