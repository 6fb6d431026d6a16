"""python -m mae_bench, which is what torchrun starts."""

from mae_bench.cli import main

if __name__ == "__main__":
    main()
