"""Put trained weights into the package under a name: the file, its hash and its card.

    raincleave evaluate w.safetensors --data Rain100H --root DIR --stages all --json h.json
    python examples/package_checkpoint.py w.safetensors drn-7x7 --card card.json --figures h.json

The card holds what only its trainer knows: ``training``, ``licence``, a ``note`` if there is
something more to be said and, where the weights are on the Hub, ``hub`` (see the docstring of
`raincleave.hub`). The figures are those that ``raincleave
evaluate`` wrote for this very file. The rest is measured.

Large networks may be stored in half precision, half the size, and compute in float32 all the same:
``load("w.safetensors", dtype=torch.float16).save("half.safetensors")`` writes such a file, which is
then the one to evaluate and to package.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch

from raincleave import load
from raincleave.errors import ConfigError, RaincleaveError
from raincleave.inference.watching import count_stages
from raincleave.weightfiles import parse_safetensors, write_bytes

ROOT = Path(__file__).parents[1]
TRAINING = {
    "data": str, "licence": str, "recipe": str, "command": str, "steps": int, "hours": (int, float),
    "machine": str, "seed": int, "commit": str,
}  # fmt: skip
FIGURE = {"dataset": str, "protocol": str, "images": int} | dict.fromkeys(
    ("input_psnr", "input_ssim", "psnr", "ssim"), (int, float)
)


def package(weights: Path, name: str, card: dict, root: Path = ROOT) -> dict:
    """Copy the weights into the package and write their entry into ``checkpoints.json``.

    Args:
        weights: a ``.safetensors`` file (or ``.ckpt``) of one of our networks.
        name: of the checkpoint, such as ``drn-7x7.heavy``.
        card: ``training`` and ``figures``, optionally ``licence``, ``note`` and ``hub``.
        root: of the checkout.

    Returns:
        The entry.
    """
    check(card)
    model = load(weights, dtype=stored_in(weights))
    last = count_stages(model)
    for figure in card["figures"]:
        if "stages" in figure and figure["stages"][-1]["stage"] != last:
            raise ConfigError(f"the figures must be those of the last stage, {last}.")
    file = f"{name}.safetensors"
    target = root / "src" / "raincleave" / "weights" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    model.save(target)  # weights and header alone, whatever else the source held
    data = target.read_bytes()
    entry = {
        **model.configuration(),
        "file": file,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "parameters": sum(p.numel() for p in model.parameters()),
        "source": "trained by raincleave",
        "licence": "Apache-2.0",
        **card,
    }
    table = root / "checkpoints.json"
    entries = json.loads(table.read_text("utf-8")) | {name: entry}
    text = json.dumps(dict(sorted(entries.items())), indent=2, ensure_ascii=False)
    write_bytes(table, f"{text}\n".encode())
    return entry


def stored_in(weights: Path) -> torch.dtype:
    """The type in which a file holds its weights, float32 for a Lightning checkpoint."""
    if weights.suffix != ".safetensors":
        return torch.float32
    tensors = parse_safetensors(weights.read_bytes(), str(weights))[1]
    return next(iter(tensors.values())).dtype


def figures(evaluation: dict, sha256: str) -> dict:
    """The figures of a checkpoint out of what ``raincleave evaluate --json`` wrote.

    Raises:
        ConfigError: other weights were evaluated, or not on all pairs in float32.
    """
    if evaluation["every"] != 1 or evaluation["precision"] != "32" or evaluation["failures"]:
        raise ConfigError("figures must come from all pairs of a dataset, in float32.")
    if evaluation["ensemble"] != 1:
        raise ConfigError("figures must come from the network alone, without --ensemble.")
    result = next((r for r in evaluation["results"] if r["sha256"] == sha256), None)
    if result is None:
        raise ConfigError(f"these figures are not of the weights with the hash {sha256}.")
    stages = [
        {key: round(s[key], 4) for key in ("stage", "psnr", "ssim")} for s in result["stages"]
    ]
    return {
        "dataset": evaluation["dataset"].split()[0],
        "protocol": evaluation["protocol"],
        "images": result["pairs"],
        "input_psnr": round(result["input"]["psnr"], 4),
        "input_ssim": round(result["input"]["ssim"], 4),
        "psnr": stages[-1]["psnr"],
        "ssim": stages[-1]["ssim"],
        "stages": stages,
    }


def check(card: dict) -> None:
    """Refuse a card that leaves something out or says something nobody asked for."""
    unknown = card.keys() - {"training", "figures", "licence", "hub", "note"}
    if unknown:
        raise ConfigError(f"the card has {min(unknown)!r}, which no entry has.")
    if not isinstance(card.get("note", ""), str):
        raise ConfigError("the card's note is no text.")
    check_fields(card.get("training", {}), TRAINING, "training")
    for figure in card.get("figures", []):
        stages = FIGURE | ({"stages": list} if "stages" in figure else {})
        check_fields(figure, stages, "figures")
    if not card.get("figures"):
        raise ConfigError("the card has no figures; `raincleave evaluate` gives them.")


def check_fields(found: dict, wanted: dict, where: str) -> None:
    """Every field there, of its type, and no other."""
    wrong = found.keys() ^ wanted.keys()
    if wrong:
        raise ConfigError(f"{where} of the card must have {', '.join(wanted)}; see {min(wrong)!r}.")
    for key, kind in wanted.items():
        if not isinstance(found[key], kind) or isinstance(found[key], bool):
            raise ConfigError(f"{where} of the card has {key}={found[key]!r}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("name")
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--figures", type=Path, nargs="*", default=[], help="evaluate's --json")
    arguments = parser.parse_args()
    try:
        card = json.loads(arguments.card.read_text("utf-8"))
        sha256 = hashlib.sha256(arguments.weights.read_bytes()).hexdigest()
        evaluations = [json.loads(file.read_text("utf-8")) for file in arguments.figures]
        if evaluations:
            card["figures"] = [figures(evaluation, sha256) for evaluation in evaluations]
        entry = package(arguments.weights, arguments.name, card)
    except (RaincleaveError, OSError, ValueError) as error:
        raise SystemExit(f"package_checkpoint: {error}") from error
    print(f"{arguments.name}: {entry['size']:,} bytes, sha256 {entry['sha256']}")


if __name__ == "__main__":
    main()
