"""The page in a browser without a screen, as a visitor uses it."""

import os
import re
import shutil
import socket
import tempfile
from functools import partial
from threading import Event

import numpy as np
import pytest
from PIL import Image

from raincleave import load
from raincleave.app.server import Options, serving
from raincleave.app.work import derain_file
from raincleave.commands.device import load_on
from raincleave.inference.files import save

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

# Busy machines take their time.
expect.set_options(timeout=30_000)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser():
    program = find_browser()
    if program is None:
        reason = "no Chromium or Chrome is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI is to have one")
        pytest.skip(reason)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(weights, tmp_path_factory):
    """A server of two tiny networks, which leaves nothing behind."""
    folder = tmp_path_factory.mktemp("temporary")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = Options(port=port, max_megapixels=0.13, max_megabytes=0.5)
    models = [str(weights / name) for name in ("three.safetensors", "two.safetensors")]
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        with serving(models, partial(load_on, device="cpu"), options) as address:
            assert len(list(folder.iterdir())) == 1
            yield address
    finally:
        tempfile.tempdir = before
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def visits(browser, address):
    """Opens the page for a new visitor; gives the pages' complaints and requests to outside too."""
    faults, contexts = [], []

    def outside(request):
        if not request.url.startswith((address, "data:", "blob:")):
            faults.append(request.url)

    def visit(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: line.type == "error" and faults.append(line.text))
        page.on("request", outside)
        page.goto(address)
        page.locator("#strip img").first.wait_for()
        return page

    yield visit, faults
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def first_page(visits):
    """One visitor, who stays through the tests: opening the page takes longer than all they do."""
    visit, _ = visits
    return visit()


@pytest.fixture
def page(first_page, visits):
    """The first visitor's page, which may not complain in any test nor ask for anything outside."""
    yield first_page
    assert visits[1] == []


def drop(page, path):
    page.set_input_files("#file input[type=file]", path)


def derained(page, path):
    """Drop a picture and wait for its result."""
    drop(page, path)
    expect(page.locator("#facts")).to_contain_text(f"{path.stem}.derained{path.suffix}")


def download(page, folder):
    with page.expect_download() as coming:
        page.click("#download")
    target = folder / coming.value.suggested_filename
    coming.value.save_as(target)
    return target


def test_the_first_sight_is_an_example(page):
    expect(page).to_have_title("raincleave")
    expect(page.locator("#facts strong")).to_have_text(
        re.compile(r"480 × 320 pixels, \d+\.\d s, all 3 stages")
    )
    expect(page.locator("#strip img")).to_have_count(4)
    loaded = "images => images.every(image => image.naturalWidth == 480)"
    assert page.locator("#slider img").evaluate_all(loaded)
    assert page.locator("footer").evaluate_all("all => all.every(one => !one.offsetHeight)")


def test_the_slider_moves(page):
    after = page.locator("#slider img").last
    before = after.evaluate("image => image.style.clipPath")
    box = page.locator("#slider .icon-wrap").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y, steps=4)
    page.mouse.up()
    moved = after.evaluate("image => image.style.clipPath")
    percent = [float(re.findall(r"([\d.]+)%", style)[-1]) for style in (before, moved)]
    assert percent[0] == 50
    assert 15 < percent[1] < 35


@pytest.mark.parametrize("name", ["one.png", "deep.png"])
def test_the_download_is_what_derain_gives(page, pictures, weights, tmp_path, name):
    derained(page, pictures / name)
    expect(page.locator("#facts")).to_contain_text("48 × 40 pixels")
    file = download(page, tmp_path)
    expected = tmp_path / "expected.png"
    save(load(weights / "three.safetensors").derain(pictures / name), expected)
    assert file.name == f"{name.removesuffix('.png')}.derained.png"
    assert file.read_bytes() == expected.read_bytes()
    with Image.open(file) as image:
        assert image.mode == ("I;16" if name == "deep.png" else "RGB")


def test_stages_and_model_change_the_result(page, pictures, weights, tmp_path):
    derained(page, pictures / "one.png")
    expect(page.locator("#facts")).to_contain_text("all 3 stages")
    page.get_by_test_id("2-radio-label").click()
    expect(page.locator("#facts")).to_contain_text("stopped after 2 of 3 stages")
    expect(page.locator("#strip img")).to_have_count(3)
    early = load(weights / "three.safetensors").derain(pictures / "one.png", stages=2)
    assert np.array_equal(Image.open(download(page, tmp_path)), early)

    page.get_by_test_id("3-radio-label").click()
    expect(page.locator("#facts")).to_contain_text("all 3 stages")
    page.locator("#model input").click()
    page.get_by_role("option", name="two.safetensors").click()
    expect(page.locator("#facts")).to_contain_text("all 2 stages")
    expect(page.locator("#stages label")).to_have_text(["auto", "1", "2"])
    expect(page.locator(".toast-body")).to_have_count(0)
    other = load(weights / "two.safetensors").derain(pictures / "one.png")
    assert np.array_equal(Image.open(download(page, tmp_path)), other)


def test_a_chosen_view_is_compared(page, pictures):
    derained(page, pictures / "clear.png")
    expect(page.locator("#caption")).to_contain_text("derained")
    page.locator("#strip button").first.click()
    expect(page.locator("#caption")).to_contain_text("after stage 1 of")
    expect(page.locator("#slider img").last).to_have_attribute("src", re.compile(r"stage-1\.png$"))
    page.locator("#strip button").last.click()
    expect(page.locator("#caption")).to_contain_text("the rain, ")


def test_bad_files_are_told_and_the_next_is_derained(page, pictures, tmp_path):
    trouble = page.locator("#trouble [role=alert]")
    drop(page, pictures / "notes.png")
    expect(trouble).to_have_text("notes.png is not an image that Pillow can read.")
    drop(page, pictures / "cut.png")
    expect(trouble).to_contain_text("cut.png cannot be read, it is truncated or damaged")
    Image.new("L", (400, 400)).save(tmp_path / "large.png")
    drop(page, tmp_path / "large.png")
    expect(trouble).to_contain_text("large.png has 0.2 megapixels (400 × 400), but this page")
    # What was there before stays.
    expect(page.locator("#facts")).to_contain_text("48 × 40 pixels")
    derained(page, pictures / "other.png")
    expect(trouble).to_have_count(0)


def test_a_picture_dropped_while_another_runs_is_next(page, pictures, monkeypatch):
    started, free = Event(), Event()

    def slow(model, total, job, *more):
        if job.source.name == "one.png":
            started.set()
            assert free.wait(30)
        return derain_file(model, total, job, *more)

    monkeypatch.setattr("raincleave.app.page.derain_file", slow)
    drop(page, pictures / "one.png")
    assert started.wait(30)
    expect(page.locator("#file input[type=file]")).to_have_count(1)
    drop(page, pictures / "clear.png")
    page.wait_for_timeout(300)
    drop(page, pictures / "other.png")
    page.wait_for_timeout(300)
    free.set()
    expect(page.locator("#facts")).to_contain_text("other.derained.png")


def test_two_visitors_get_their_own(page, visits, pictures, weights, tmp_path):
    visitors = [(page, pictures / "one.png"), (visits[0](), pictures / "other.png")]
    for visitor, path in visitors:
        drop(visitor, path)
    for visitor, path in visitors:
        expect(visitor.locator("#facts")).to_contain_text(f"{path.stem}.derained.png")
        model = load(weights / visitor.locator("#model input").input_value())
        assert np.array_equal(Image.open(download(visitor, tmp_path)), model.derain(path))


def test_on_a_phone_in_the_dark(page):
    assert brightness(page) < 60
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.body.classList.contains('dark')")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    order = [page.locator(part).bounding_box()["y"] for part in ("#drop", "#view", "#settings")]
    assert order == sorted(order)
    assert brightness(page) > 200


def brightness(page):
    """Of the text, 0 to 255."""
    ink = page.locator("#facts strong").evaluate("one => getComputedStyle(one).color")
    return np.mean([float(part) for part in re.findall(r"\d+", ink)[:3]])
