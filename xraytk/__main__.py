"""``python -m xraytk``."""

from xraytk.cli import main

if __name__ == "__main__":
    main()
