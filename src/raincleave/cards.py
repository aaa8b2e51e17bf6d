"""Model cards in the Hub's form, made from what is known of a checkpoint."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

_TEXT = """\
# {title}

Removes rain from single images. A `{architecture}` of \
[raincleave](https://pypi.org/project/raincleave/), {parameters:,} parameters.

```python
from raincleave import load

model = load("{ref}")
model.derain("rainy.jpg").save("clean.png")
```

{facts}
"""


def model_card(
    configuration: dict[str, Any],
    parameters: int,
    entry: dict[str, Any] | None = None,
    repo_id: str | None = None,
) -> "ModelCard":
    """A model card: metadata that the Hub reads, an example, and where the weights come from.

    Args:
        configuration: architecture and arguments of the network.
        parameters: how many it has.
        entry: the checkpoint's entry in ``checkpoints.json``, with its name; None if it has
            none, in which case the card claims no figures, no licence and no data.
        repo_id: ``owner/name`` on the Hub; None for a folder, whose example runs inside it.
    """
    from huggingface_hub import ModelCard, ModelCardData

    entry = entry or {}
    architecture = configuration["architecture"]
    title = entry.get("name") or (repo_id or architecture).split("/")[-1]
    results = _results(entry)
    data = ModelCardData(
        library_name="raincleave",
        pipeline_tag="image-to-image",
        license=entry["licence"].lower() if "licence" in entry else None,
        tags=["deraining", "image-restoration", architecture.lower()],
        model_name=title if results else None,
        eval_results=results or None,
    )
    text = _TEXT.format(
        title=title,
        architecture=architecture,
        parameters=parameters,
        ref=f"hf://{repo_id}" if repo_id else ".",
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
    return "\n".join(lines)
