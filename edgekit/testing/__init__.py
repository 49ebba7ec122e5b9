"""Hardware in the loop for pytest: the fixtures `board` and `build` of `pytest --edgekit-board NAME`, and `assert_size`."""
