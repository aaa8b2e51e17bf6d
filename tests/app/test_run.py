"""What the page does when asked, without a browser."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from raincleave.app import server
from raincleave.app.work import StoppedError
from raincleave.commands.device import load_on
from raincleave.hub import DEFAULT, list_models

pytest.importorskip("gradio")

VISITOR = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def page(weights, tmp_path):
    from raincleave.app.choice import Models
    from raincleave.app.page import Page

    files = [str(weights / name) for name in ("two.safetensors", "three.safetensors")]
    page = Page(Models(files, lambda name: load_on(name, "cpu")), tmp_path, server.Options())
    page.blocks()
    return page


def ask(page, file, last, name="two.safetensors", stages="2"):
    if file:
        assert page._take(file, VISITOR) is None, "the place is free for the next"
    return page._run(name, stages, "32", last, VISITOR, lambda *told, **more: None)


def test_all_stages_stay_all_and_a_number_where_the_model_has_it(page):
    two, three = page.models.names
    offered = [
        page._offer(name, stages, before)
        for name, stages, before in [
            (three, "2", 2), (two, "3", 3), (three, "1", 2), (two, "2", 3), (three, "auto", 2),
        ]
    ]  # fmt: skip
    assert [(update["value"], total) for update, total in offered] == [
        ("3", 3), ("2", 2), ("1", 3), ("2", 2), ("auto", 3),
    ]  # fmt: skip


def test_stop_after_the_last_stage_leaves_what_is_shown(page, pictures, monkeypatch):
    shown = ask(page, str(pictures / "one.png"), page.example)[page.result]
    derain, made = page._derain, []

    def stopped_late(*given):
        made.append(derain(*given))
        page._leave(VISITOR)
        return made[0]

    monkeypatch.setattr(page, "_derain", stopped_late)
    answer = ask(page, str(pictures / "other.png"), shown)
    assert page.result not in answer
    assert shown.source.is_file()
    assert not made[0].folder.exists()


def test_what_was_stopped_is_next_with_other_settings(page, pictures, monkeypatch):
    shown = ask(page, str(pictures / "one.png"), page.example)[page.result]

    def stopped(*_):
        page._end(VISITOR)
        raise StoppedError("Stopped.")

    monkeypatch.setattr(page, "_derain", stopped)
    answer = ask(page, str(pictures / "other.png"), shown)
    assert answer, "of an empty answer Gradio complains"
    assert page.result not in answer
    monkeypatch.undo()
    again = ask(page, None, shown, stages="1")[page.result]
    assert again.source.name == "other.png"
    page._end(VISITOR)
    assert ask(page, None, again)[page.result].source.name == "other.png"
    assert page._dropped == page._stops == {}, "a late click stops nothing"

    def left(*_):
        page._leave(VISITOR)
        raise StoppedError("Stopped.")

    monkeypatch.setattr(page, "_derain", left)
    assert page.result not in ask(page, str(pictures / "one.png"), again)
    assert page._dropped == page._stops == {}


def test_what_is_dropped_meanwhile_is_next(page, pictures, monkeypatch):
    derain = page._derain

    def busy(*given):
        page._take(str(pictures / "clear.png"), VISITOR)
        page._take(str(pictures / "other.png"), VISITOR)
        return derain(*given)

    monkeypatch.setattr(page, "_derain", busy)
    shown = ask(page, str(pictures / "one.png"), page.example)[page.result]
    monkeypatch.undo()
    assert shown.source.name == "one.png"
    shown = ask(page, None, shown)[page.result]
    assert shown.source.name == "other.png", "the last one"
    assert ask(page, None, shown, stages="1")[page.result].source.name == "other.png"
    page._take(str(pictures / "one.png"), VISITOR)
    page._leave(VISITOR)
    assert page._dropped == {}


def test_the_page_begins_with_the_everyday_network(monkeypatch):
    seen = []

    @contextmanager
    def launched(page, options):
        yield "http://here"

    monkeypatch.setattr(server, "_launched", launched)
    monkeypatch.setattr(server, "_check_free", lambda options: None)
    monkeypatch.setattr("raincleave.app.page.Page", lambda models, *_: seen.append(models))
    with server.serving([], load_on, server.Options()):
        pass
    assert seen[0].names[0] == DEFAULT
    assert sorted(seen[0].names) == list_models()
