"""The local web page of ``raincleave app``.

`models` keeps what the page offers, `watching` listens to a network while it derains, `work` makes
of one file all that the page shows of it, `page` lays it out in Gradio; the first three know
nothing of Gradio. ``example.jpg`` is ``examples/rainy.png``, drawn by ``examples/make_rainy.py``.
"""
