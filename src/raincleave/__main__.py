"""``python -m raincleave`` is the command ``raincleave``."""

from raincleave.cli import main

if __name__ == "__main__":
    main()
