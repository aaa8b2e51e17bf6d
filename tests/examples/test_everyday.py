def test_a_network_that_does_nothing_leaves_alone_and_gains_nothing(example, pairs, nothing):
    options = pairs / "clean", nothing, "--images", "2"
    head, _, row = example("everyday", *options)
    assert head.startswith("| 2 photographs | left alone | real rain |")
    name, alone, rainy, derained, gain = row.strip("| ").split(" | ")
    assert (name, alone, gain) == ("nothing", "100.00", "+0.00 dB")
    assert 10 < float(rainy) == float(derained) < 45
