"""The page itself: what it shows, and what happens when something on it is touched."""

import shutil
import tempfile
from html import escape
from pathlib import Path
from threading import Event, Lock
from typing import Any, Literal

import gradio as gr

from raincleave.app.choice import Models
from raincleave.app.server import Options
from raincleave.app.work import Job, Result, StoppedError, check_size, derain_file, explain
from raincleave.errors import RaincleaveError
from raincleave.formats import SUFFIXES
from raincleave.inference.precision import dtype_of
from raincleave.inference.watching import Progress

HERE = Path(__file__).parent
EXAMPLE = HERE / "example.jpg"
_HEADER = """
<header><h1>{icon}raincleave</h1>
<p>Drop a rainy picture and get it back dry. {where}</p></header>
"""

_ABOUT = "Every stage of the network, and the rain it took out. Choose one to see it above."


class Page:
    """The page of one server, with one device: one picture is derained at a time.

    Args:
        models: what can be chosen; the first is chosen at the start.
        folder: where results lie until their visitor asks for the next or leaves.
        options: what a visitor may ask for.
    """

    def __init__(self, models: Models, folder: Path, options: Options) -> None:
        self.models, self.folder, self.options = models, folder, options
        self._device = Lock()
        self._stops: dict[str, tuple[Event, Path]] = {}
        self._dropped: dict[str, str] = {}
        self._closing = False
        first = models.names[0]
        example = self._derain(Job(EXAMPLE, None, "32"), first, lambda progress: None)
        self.example = example._replace(note="An example, until there is a picture of yours.")

    def close(self) -> None:
        """End the work going on at its next stage."""
        self._closing = True

    def blocks(self) -> gr.Blocks:
        """The page, to be launched."""
        with gr.Blocks(
            title="raincleave", analytics_enabled=False, delete_cache=(3600, 86400)
        ) as blocks:
            icon = (HERE / "icon.svg").read_text("utf-8")
            header = _HEADER.format(icon=icon, where=self.options.where)
            gr.HTML(header, elem_id="header", padding=False)
            self.result = gr.State(self.example, delete_callback=self._forget)
            with gr.Row(elem_id="desk"):
                with gr.Column(elem_id="drop"):
                    self._drop()
                with gr.Column(elem_id="view"):
                    self._view()
                with gr.Column(elem_id="settings"):
                    self._settings()
            self._events(blocks)
        return blocks.queue(max_size=self.options.queue, default_concurrency_limit=1)

    # What it shows

    def _drop(self) -> None:
        self.file = gr.File(
            label="Picture",
            file_types=sorted(SUFFIXES),
            height=132,
            elem_id="file",
            show_label=False,
        )

    def _settings(self) -> None:
        first = self.models.names[0]
        self.model = gr.Dropdown(
            self.models.names,
            value=first,
            label="Model",
            info="For photographs of rain: drn-7x7.real, or rranet.real, slower and better.",
            filterable=False,
            elem_id="model",
        )
        total = self.models.stages(first)
        self.total = gr.State(total)
        self.stages = gr.Radio(
            _choices(total),
            value=str(total),
            label="Stages",
            info="Fewer are faster and less thorough; auto stops where nothing changes any more.",
            elem_id="stages",
            elem_classes="pills",
        )
        # Where half precision would be emulated, there is nothing to choose.
        fast = dtype_of("fast", next(self.models.get(first).parameters()).device) is not None
        self.precision = gr.Radio(
            [("exact", "32"), ("fast", "fast")],
            value="32",
            label="Precision",
            visible=fast,
            elem_id="precision",
            elem_classes="pills",
        )

    def _view(self) -> None:
        shown = self._shown(self.example)
        self.trouble = gr.HTML(visible=False, elem_id="trouble", padding=False)
        with gr.Column(elem_id="sheet") as self.sheet:
            self.slider = gr.ImageSlider(
                type="filepath",
                interactive=False,
                show_label=False,
                buttons=["fullscreen"],
                max_height=520,
                elem_id="slider",
                **shown["slider"],
            )
            # Shown by the style sheet, while the slider waits for its pictures.
            self.stop = gr.Button("Stop", elem_id="stop")
            self.caption = gr.HTML(elem_id="caption", padding=False, **shown["caption"])
            with gr.Row(elem_id="outcome"):
                self.facts = gr.HTML(elem_id="facts", padding=False, **shown["facts"])
                self.download = gr.DownloadButton(
                    variant="primary", elem_id="download", **shown["download"]
                )
            gr.HTML(_ABOUT, elem_id="about", padding=False)
            self.strip = gr.Gallery(
                label="Stages and rain",
                show_label=False,
                allow_preview=False,
                object_fit="cover",
                height="auto",
                buttons=[],
                interactive=False,
                elem_id="strip",
                **shown["strip"],
            )

    def _shown(self, result: Result) -> dict[str, dict[str, Any]]:
        """What a result puts into each component."""
        views = result.views
        return {
            "slider": {"value": (str(result.before), str(views[result.derained].preview))},
            "caption": {"value": _caption(views[result.derained].title)},
            "facts": {"value": _facts(result)},
            "download": {"value": str(result.file), "label": "Download"},
            "strip": {
                "value": [(str(view.preview), view.caption) for view in views],
                "selected_index": result.derained,
                "columns": len(views),
            },
        }

    # What happens

    def _events(self, blocks: gr.Blocks) -> None:
        private: dict[str, Any] = {"api_visibility": "private"}
        # Results come from here, one at a time.
        work: dict[str, Any] = {
            "fn": self._run,
            "inputs": [self.model, self.stages, self.precision, self.result],
            "outputs": [
                *(self.slider, self.caption, self.facts, self.download),
                *(self.strip, self.trouble, self.result),
            ],
            "trigger_mode": "always_last",
            "show_progress_on": self.slider,
            "concurrency_limit": 1,
            "concurrency_id": "device",
            **private,
        }
        # The stages that there are first: a choice that the new model lacks would be refused.
        offered = self.model.change(
            self._offer,
            [self.model, self.stages, self.total],
            [self.stages, self.total],
            show_progress="hidden",
            **private,
        )
        # At once, whatever is running: the browser would send its own notion of what was dropped
        # only when that is done.
        taken = self.file.upload(self._take, self.file, self.file, queue=False, **private)
        running = [
            *(event.success(**work) for event in (offered, taken)),
            gr.on([self.stages.input, self.precision.input], **work),
        ]
        self.stop.click(self._end, cancels=running, queue=False, **private)
        self.strip.select(
            self._choose,
            self.result,
            [self.slider, self.caption],
            show_progress="hidden",
            queue=False,
            **private,
        )
        blocks.unload(self._leave)

    def _offer(self, name: str, stages: str, before: int) -> tuple[Any, int]:
        """Offer the stages of the model; all stay all, and a number where the model has it."""
        try:
            total = self.models.stages(name)
        except RaincleaveError as error:
            raise gr.Error(str(error), print_exception=False) from error
        every = stages != "auto" and int(stages) >= min(before, total)
        return gr.update(choices=_choices(total), value=str(total) if every else stages), total

    def _take(self, file: str, request: gr.Request) -> None:
        """Keep what was dropped for its turn, and empty the place for the next."""
        self._dropped[str(request.session_hash)] = file

    def _run(  # noqa: PLR0917 - Gradio gives all by position
        self,
        name: str,
        stages: str,
        precision: Any,
        last: Result,
        request: gr.Request,
        bar: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds it by its default
    ) -> dict[Any, Any]:
        """Derain what was dropped, or once more what is shown; what cannot be is told in the page.

        Of what was dropped while another picture ran, the last is derained.
        """
        unchanged = {self.trouble: gr.skip()}  # of an empty answer Gradio would complain
        visitor = str(request.session_hash)
        source = Path(self._dropped.pop(visitor, last.source))
        stop = Event()
        self._stops[visitor] = stop, source
        try:
            total = self.models.stages(name)
            wanted = total if stages == "auto" else int(stages)
            # All stages, by the name they have in the library: None.
            number: Literal["auto"] | int | None = None if wanted == total else wanted
            if stages == "auto":
                number = "auto"
            check_size(source, self.options.max_megapixels)
            tell = self._teller(stop, bar, wanted)
            result = self._derain(Job(source, number, precision), name, tell)
        except StoppedError:
            return unchanged
        except Exception as error:  # Whatever a picture does, the page says so and goes on.
            said = f'<p role="alert">{escape(explain(error, source, self.folder))}</p>'
            return {self.trouble: gr.update(value=said, visible=True)}
        finally:
            self._stops.pop(visitor, None)
        if stop.is_set():  # too late for the network: Gradio shows nothing that comes now
            self._forget(result)
            return unchanged
        self._forget(last)
        return {
            **{getattr(self, part): gr.update(**new) for part, new in self._shown(result).items()},
            self.trouble: gr.update(visible=False),
            self.result: result,
        }

    def _teller(self, stop: Event, bar: gr.Progress, wanted: int) -> Any:
        """What the network tells its progress to; ends the work when the visitor wants that."""

        def tell(progress: Progress) -> None:
            if stop.is_set() or self._closing:
                raise StoppedError("Stopped.")
            bar(progress.share(wanted), desc=_words(progress, wanted))

        return tell

    def _end(self, request: gr.Request) -> None:
        """The visitor stopped the work; the picture stays, for other settings."""
        visitor = str(request.session_hash)
        stop, source = self._stops.pop(visitor, (None, None))
        if stop is not None:
            stop.set()
            self._dropped.setdefault(visitor, str(source))

    def _leave(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self._end(request)
        self._dropped.pop(str(request.session_hash), None)

    def _choose(self, result: Result, chosen: gr.SelectData) -> tuple[Any, str]:
        """Put the chosen view on the slider's right side."""
        view = result.views[chosen.index]
        return (str(result.before), str(view.preview)), _caption(view.title)

    def _forget(self, result: Result) -> None:
        """Remove a result's files; the example's are everyone's."""
        if result.folder != self.example.folder:
            shutil.rmtree(result.folder, ignore_errors=True)

    def _derain(self, job: Job, name: str, tell: Any) -> Result:
        """Derain a copy of the file, which stays with its result for the next settings."""
        model, total = self.models.get(name), self.models.stages(name)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            job = job._replace(source=Path(shutil.copy(job.source, folder)))
            with self._device:
                return derain_file(model, total, job, folder, tell)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _choices(total: int) -> list[str]:
    return ["auto", *map(str, range(1, total + 1))]


def _words(progress: Progress, wanted: int) -> str:
    if progress.pieces == 1:
        return f"stage {progress.stage} of {wanted}"
    of = f" of {progress.pieces}" if progress.pieces else ""
    return f"piece {progress.piece}{of}, stage {progress.stage} of {wanted}"


def _caption(title: str) -> str:
    return f"<span>before</span><span>{escape(title)}</span>"


def _facts(result: Result) -> str:
    size = result.file.stat().st_size
    weight = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
    note = f"<small>{escape(result.note)}</small>" if result.note else ""
    return (
        f"<strong>{escape(result.facts)}</strong>"
        f"<span>{escape(result.file.name)}, {weight}, full size and depth</span>{note}"
    )
