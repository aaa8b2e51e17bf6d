import pytest


def test_every_kind_rains_and_every_network_has_its_column(example, pairs, nothing):
    options = pairs / "clean", nothing, "drn-7x7", "--images", "2", "--side", "48"
    head, _, dry, *rows = example("kinds_of_rain", *options)
    assert head == "| 2 photographs | rainy | nothing | drn-7x7 |"
    kind, rainy, same, trained = dry.strip("| ").split(" | ")
    assert (kind, rainy) == ("dry", "100.00 / 1.000")
    assert same == rainy
    assert 25 < float(trained.split(" / ")[0]) < 100
    assert [row.split()[1] for row in rows] == ["light", "heavy", "real"]
    for row in rows:
        _, rainy, same, trained = row.strip("| ").split(" | ")
        assert 8 < float(rainy.split(" / ")[0]) < 40
        assert same == rainy != trained


@pytest.mark.parametrize("kind", ["soft, at 40–55°", "hard, bright"])
def test_single_kinds_are_chosen(example, pairs, nothing, kind):
    options = pairs / "clean", nothing, "--images", "1", "--side", "48", "--kinds", kind
    _, _, row = example("kinds_of_rain", *options)
    assert row.startswith(f"| {kind} | ")


def test_the_best_exposure_is_no_worse(example, pairs, nothing):
    options = pairs / "clean", nothing, "--images", "3", "--side", "48", "--kinds", "real"
    head, _, row = example("kinds_of_rain", *options, "--best-exposure")
    assert head == "| 3 photographs | rainy | nothing | nothing, best exposure |"
    _, _, plain, fitted = row.strip("| ").split(" | ")
    assert float(fitted.split(" / ")[0]) > float(plain.split(" / ")[0]) + 0.1


def test_strong_and_weak_rain_apart(example, pairs, nothing):
    options = pairs / "clean", nothing, "--images", "4", "--side", "48", "--kinds", "real"
    head, _, whole, *rows = example("kinds_of_rain", *options, "--by-strength")
    counts = []
    for row in rows:
        label, rainy, same = row.strip("| ").split(" | ")
        bounds, count = label.removeprefix("real, ").split(": ")
        low, *high = (float(word) for word in bounds.split() if word.isdigit())
        assert low <= float(rainy.split(" / ")[0]) < (high[0] if high else 100)
        assert same == rainy
        counts.append(int(count))
    assert sum(counts) == int(head.split()[1]) > 1
    assert whole.startswith("| real | ")
