"""How the page looks: system fonts, one accent, light and dark as the system is."""

from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def dress() -> dict[str, Any]:
    """What `gradio.Blocks.launch` is told of the looks."""
    # Names of fonts, not gradio.themes.GoogleFont: nothing is loaded from outside.
    theme = gr.themes.Base(neutral_hue="slate", font=_FONT, font_mono=_MONO)
    return {
        "theme": theme,
        "css_paths": [_HERE / "style.css"],
        "favicon_path": _HERE / "icon.svg",
    }
