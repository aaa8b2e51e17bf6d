import pytest
import torch

from raincleave.inference.watching import Progress, Watch, count_stages, watching
from raincleave.models import DRN, RRANet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DRN(stages=3, recursions=1, res_blocks=1, channels=4).eval()


def watch_of(size, told, halo=0):
    return Watch(size, halo, told.append, keep=lambda stage: stage.background.clone())


def test_hears_the_stages_and_changes_nothing(model):
    rainy = torch.rand(1, 3, 20, 24)
    told: list[Progress] = []
    watch = watch_of((20, 24), told)
    with watching(model, watch):
        watched = model.derain(rainy)
    assert torch.equal(watched, model.derain(rainy))
    with torch.inference_mode():
        placed = rainy.contiguous(memory_format=torch.channels_last)
        expected = [stage.background for stage in model.unroll(placed)]
    assert all(torch.equal(a, b) for a, b in zip(watch.whole, expected, strict=True))
    assert told == [Progress(1, 1, 1), Progress(2, 1, 1), Progress(3, 1, 1)]
    assert "unroll" not in vars(model)


def test_looks_of_auto_are_not_kept(model):
    told: list[Progress] = []
    watch = watch_of((20, 24), told)
    with watching(model, watch):
        model.derain(torch.rand(1, 3, 20, 24), stages="auto")
    assert len(watch.whole) == model.stages_run


def test_counts_pieces(model):
    told: list[Progress] = []
    watch = watch_of((200, 600), told, halo=12)
    with watching(model, watch):
        model.derain(torch.rand(1, 3, 200, 600), tile=200, halo=12)
    assert watch.whole == []
    assert [(seen.piece, seen.pieces) for seen in told[::3]] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("size", [(20, 24), (200, 600)])
def test_the_share_of_mirrored_views_grows_to_one(model, size):
    told: list[Progress] = []
    watch = Watch(size, 12, told.append, views=4)
    with watching(model, watch):
        model.derain(torch.rand(1, 3, *size), tile=200, halo=12, ensemble=4)
    assert watch.whole == []
    shares = [seen.share(3) for seen in told]
    assert shares == pytest.approx([(k + 1) / len(shares) for k in range(len(shares))])


def test_pieces_that_ran_out_of_memory_count_as_they_come(model):
    told: list[Progress] = []
    watch = watch_of((300, 600), told, halo=12)
    unroll = model.unroll

    def narrow(rainy):
        if rainy.shape[-1] > 400:
            yield next(unroll(rainy))
            raise MemoryError
        yield from unroll(rainy)

    model.unroll = narrow
    with watching(model, watch):
        model.derain(torch.rand(1, 3, 300, 600), halo=12)
    assert watch.whole == [], "what was kept before memory ran out is of no use"
    assert [(seen.piece, seen.pieces) for seen in told] == [(1, 1), *[(2, 2)] * 6]


def test_who_is_told_may_end_the_work(model):
    def stop(progress):
        if progress.stage == 2:
            raise ValueError("enough")

    watch = Watch((8, 8), 0, stop, keep=lambda stage: stage.background)
    with pytest.raises(ValueError, match="enough"), watching(model, watch):
        model.derain(torch.rand(1, 3, 8, 8))
    assert len(watch.whole) == 2
    assert "unroll" not in vars(model)


def test_counts_stages(model):
    assert count_stages(model) == 3
    assert count_stages(RRANet(stages=2, width=4)) == 2
