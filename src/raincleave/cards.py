"""Model cards in the Hub's form, made from what is known of a checkpoint."""

from typing import TYPE_CHECKING, Any

from raincleave.remote import SCHEME

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

_TEXT = """\
# {title}

Removes rain from single images. The network is {owner}`{architecture}` \
(`pip install raincleave`), {parameters:,} parameters.

```python
{imports}from raincleave import load

model = load("{ref}")
model.derain("rainy.jpg").save("clean.png")
```

{facts}
"""


def model_card(
    configuration: dict[str, Any],
    parameters: int,
    entry: dict[str, Any] | None = None,
    ref: str = ".",
    module: str = "raincleave",
) -> "ModelCard":
    """A model card: metadata that the Hub reads, an example, and where the weights come from.

    Args:
        configuration: architecture and arguments of the network.
        parameters: how many it has.
        entry: the checkpoint's entry in ``checkpoints.json``, with its name; None if it has
            none, in which case the card claims no figures, no licence and no data.
        ref: what the example gives to `raincleave.load`; by default the folder that the card is in.
        module: where the network's class is from, which the example must import if it is not ours.
    """
    from huggingface_hub import ModelCard, ModelCardData

    entry = entry or {}
    architecture = configuration["architecture"]
    title = entry.get("name") or (ref if ref.startswith(SCHEME) else architecture).split("/")[-1]
    results = _results(entry)
    data = ModelCardData(
        library_name="raincleave",
        pipeline_tag="image-to-image",
        license=entry["licence"].lower() if "licence" in entry else None,
        tags=["deraining", "image-restoration", architecture.lower()],
        model_name=title if results else None,
        eval_results=results or None,
    )
    ours = module.partition(".")[0] == "raincleave"
    text = _TEXT.format(
        title=title,
        owner="raincleave's " if ours else f"`{module}`'s ",
        imports="" if ours else f"import {module}  # the network's class\n",
        architecture=architecture,
        parameters=parameters,
        ref=ref,
        facts=_facts(configuration["arguments"], entry),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def _results(entry: dict[str, Any]) -> list["EvalResult"]:
    """The figures as the Hub's ``model-index``; a PSNR without its protocol would mean nothing."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-to-image",
            task_name="Image deraining",
            dataset_type=figure["dataset"].lower(),
            dataset_name=figure["dataset"],
            metric_type=metric,
            metric_name=f"{metric.upper()} ({figure['protocol']} protocol)",
            metric_value=figure[metric],
        )
        for figure in entry.get("figures", [])
        for metric in ("psnr", "ssim")
    ]


def _facts(arguments: dict[str, Any], entry: dict[str, Any]) -> str:
    lines = ["## Arguments", "", *(f"- `{key}`: {value}" for key, value in arguments.items())]
    if training := entry.get("training"):
        lines += ["", "## Training", "", *(f"- {key}: {value}" for key, value in training.items())]
    if entry.get("figures"):
        lines += ["", "## Figures", "", "| dataset | protocol | images | input | output |"]
        lines += ["|---|---|---|---|---|"]
    for f in entry.get("figures", []):
        before = f"{f['input_psnr']:.2f} dB / {f['input_ssim']:.3f}"
        after = f"{f['psnr']:.2f} dB / {f['ssim']:.3f}"
        lines.append(f"| {f['dataset']} | {f['protocol']} | {f['images']} | {before} | {after} |")
    if note := entry.get("note"):
        lines += ["", "## Note", "", note]
    return "\n".join(lines)


def checkpoint_table(entries: dict[str, dict[str, Any]]) -> str:
    """The named checkpoints as a Markdown table: PSNR / SSIM by the csdwren protocol.

    Args:
        entries: by name, as `raincleave.hub.checkpoints` gives them.

    Returns:
        The table's lines; the first row is the rainy input itself.
    """
    heads, rainy, *rows = checkpoint_rows(entries)
    lines = [
        heads,
        ["---", "---:", "---:", *("---" for _ in heads[3:])],
        ["*rainy input*", *rainy[1:]],
        *([f"`{name}`", *rest] for name, *rest in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def checkpoint_rows(entries: dict[str, dict[str, Any]]) -> list[list[str]]:
    """What `checkpoint_table` shows: the columns' heads, the rainy input, the named checkpoints.

    Args:
        entries: by name, as `raincleave.hub.checkpoints` gives them.

    Returns:
        Name, parameters, size and a dataset's PSNR / SSIM in each further column.
    """
    figures = {
        (name, figure["dataset"]): figure
        for name, entry in entries.items()
        for figure in entry.get("figures", [])
        if figure["protocol"] == "csdwren"
    }
    datasets = sorted({dataset for _, dataset in figures})

    def scores(name: str, prefix: str = "") -> list[str]:
        found = [figures.get((name, dataset)) for dataset in datasets]
        keys = f"{prefix}psnr", f"{prefix}ssim"
        return [f"{f[keys[0]]:.2f} / {f[keys[1]]:.3f}" if f else "" for f in found]

    # Every entry that was scored on a dataset knows its input's figures.
    inputs = [scores(name, "input_") for name in entries]
    return [
        ["name", "parameters", "size", *datasets],
        ["rainy input", "", "", *(max(column) for column in zip(*inputs, strict=True))],
        *(
            [name, f"{e['parameters']:,}", f"{e['size'] / 1000:,.0f} kB", *scores(name)]
            for name, e in sorted(entries.items())
        ),
    ]
