"""The local web page of ``raincleave app``.

`choice` keeps the models that the page offers, `work` makes of one file all that the page shows of
it; these know nothing of Gradio, in which `page` lays the page out, `style` dresses it and `server`
serves it.

``example.jpg`` is ``examples/rainy.png``, drawn by ``examples/make_rainy.py``.
"""
