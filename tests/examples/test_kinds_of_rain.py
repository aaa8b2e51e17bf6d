def test_every_kind_rains_and_every_network_has_its_column(example, pairs, nothing):
    options = pairs / "clean", nothing, "drn-7x7", "--images", "2"
    head, _, *rows = example("kinds_of_rain", *options)
    assert head == "| 2 photographs | rainy | nothing | drn-7x7 |"
    assert len(rows) == 7
    for row in rows:
        _, rainy, same, trained = row.strip("| ").split(" | ")
        assert 15 < float(rainy.split(" / ")[0]) < 40
        assert same == rainy != trained
