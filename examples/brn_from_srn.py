"""Start BRN from a trained SRN, so that its training need not begin with nothing.

    python examples/brn_from_srn.py srn.safetensors brn.safetensors --photos PHOTOS
    raincleave fit --model BRN --model.init_from brn.safetensors --data SyntheticRain ...

F_x of BRN is SRN but for three things: it sees the rain and F_r's state too, whose weights start at
zero; and it draws the whole background where SRN adds its output to the picture. So three of the 32
channels are given up, those that SRN misses least, and carry the picture's red, green and blue past
the cell and the ResBlocks into f_out. BRN then derains almost as SRN does, from the first step. F_r
starts as SRN's first ResBlocks with the output's sign turned.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch

from raincleave import load
from raincleave.data.pictures import Picture, image_files_of, read_image
from raincleave.data.synthesis import RainRenderer
from raincleave.inference.engine import middle
from raincleave.models import BRN, SRN

SCALE = 0.25  # of the picture within its channels: there tanh is nearly straight
OPEN = 4.0  # bias of a gate that lets (nearly) everything pass, negative nothing
PASSED = torch.sigmoid(torch.tensor(OPEN)) * torch.tanh(
    torch.sigmoid(torch.tensor(OPEN)) * torch.tanh(torch.tensor(SCALE))
)  # what white becomes on its way to f_out
WANTED = {"mapping": "residual", "cell": "lstm", "res_blocks": 5, "sees_rainy": True}


def silence(network, kind, channel):
    """Let nothing read one channel of z or h any more."""
    columns = channel + (0 if kind == "z" else 32)
    network.f_recurrent.gates.weight[:, columns] = 0
    if kind == "h":
        for block in network.f_res:
            block.conv1.weight[:, channel] = 0
            for end in (block.conv2.weight, block.conv2.bias):
                end[channel] = 0
        network.f_out.weight[:, channel] = 0


def least_missed(network, rainy, kind):
    """Three channels of z or of h, one after the other that changes the result least."""
    kept = {k: v.clone() for k, v in network.state_dict().items()}
    before, chosen = network(rainy), []
    for _ in range(3):
        changes = {}
        for channel in set(range(32)) - set(chosen):
            network.load_state_dict(kept)
            for gone in (*chosen, channel):
                silence(network, kind, gone)
            changes[channel] = (network(rainy) - before).square().mean().item()
        chosen.append(min(changes, key=changes.get))
    network.load_state_dict(kept)
    for channel in chosen:
        silence(network, kind, channel)
    return chosen


def grow(srn, rainy):
    """BRN whose F_x is ``srn``, a residual SRN with an LSTM; ``rainy`` (B, 3, H, W) to choose by.

    ``srn`` loses three channels on the way.
    """
    z, h = (least_missed(srn, rainy, kind) for kind in "zh")
    brn = BRN(stages=srn.stages)
    for branch, res in ((brn.f_r, 3), (brn.f_x, 5)):
        for ours, theirs in (
            (branch.f_in, srn.f_in),
            (branch.f_recurrent.gates, srn.f_recurrent.gates),
            *zip(branch.f_res, islice(srn.f_res, res), strict=True),
            (branch.f_out, srn.f_out),
        ):
            mine = ours.state_dict()
            for key, value in theirs.state_dict().items():
                mine[key].zero_()
                mine[key][tuple(slice(n) for n in value.shape)] = value
    brn.f_r.f_out.weight.neg_()
    brn.f_r.f_out.bias.neg_()
    gates = brn.f_x.f_recurrent.gates
    for colour, (into, out) in enumerate(zip(z, h, strict=True)):
        brn.f_x.f_in.weight[into] = 0
        brn.f_x.f_in.weight[into, colour, 1, 1] = 1
        brn.f_x.f_in.bias[into] = 0
        for gate, bias in enumerate((OPEN, -OPEN, OPEN, 0.0)):  # i, f, o, g
            gates.weight[32 * gate + out] = 0
            gates.bias[32 * gate + out] = bias
        gates.weight[96 + out, into, 1, 1] = SCALE
        brn.f_x.f_out.weight[colour, out, 1, 1] = 1 / PASSED
    return brn


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("srn", help="a checkpoint's name, or a file of weights")
    parser.add_argument("brn", type=Path, help="the file to write")
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs")
    parser.add_argument("--preset", default="heavy")
    args = parser.parse_args()
    srn = load(args.srn)
    if not isinstance(srn, SRN) or any(srn.hparams[k] != v for k, v in WANTED.items()):
        raise SystemExit(
            f"{args.srn} is no SRN with residual mapping, LSTM and five ResBlocks that sees the "
            "rainy picture at every stage; train one with `raincleave fit --model SRN`."
        )
    pictures = (middle(read_image(Picture(p))[None], 96) for p in image_files_of(args.photos))
    clean = torch.cat(list(islice(pictures, 2))).float() / 255
    rainy = RainRenderer(args.preset, generator=torch.Generator().manual_seed(0))(clean).rainy
    before = srn(rainy)
    brn = grow(srn, rainy).eval()
    change = (brn(rainy) - before).abs().mean().item() * 255
    brn.save(args.brn)
    print(f"wrote {args.brn}, which differs from {args.srn} by {change:.2f} levels on average")


if __name__ == "__main__":
    main()
