"""The same as ``optax-ltd``, from wherever the package is."""

from optax_ltd.cli import main

main()
