def test_the_cameras_are_split_and_scored(example):
    head, *rows = example("new_layout")
    assert head == "6 pairs; training on autumn, pavilion"
    assert [row.split()[0] for row in rows] == [
        f"{camera}_wet-{k}" for camera in ("autumn", "dogs", "pavilion") for k in (1, 2)
    ]
    assert all(15 < float(row.split()[1]) < 35 for row in rows)
