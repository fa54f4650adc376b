"""python -m weft_training <trainer> --spec spec.json --out DIR"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from weft_training import determinism


def main(arguments: list[str]) -> int:
    """Runs one trainer. Exit status: 0 trained, 1 the training failed, 2 the call was wrong."""
    from weft_training import trainers

    known = sorted(module.name for module in pkgutil.iter_modules(trainers.__path__))
    parser = argparse.ArgumentParser(prog="python -m weft_training", description="Trains one model.")
    parser.add_argument("trainer", choices=known)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file that says what to train")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.onnx and its records")
    options = parser.parse_args(arguments)

    determinism.apply()  # Before the trainer imports its libraries.
    from weft_training.spec import SpecError, read_spec

    try:
        trainer = importlib.import_module(f"weft_training.trainers.{options.trainer}")
        spec = getattr(trainer, "read_spec", read_spec)(options.spec)  # An evaluation has a specification of its own.
        options.out.mkdir(parents=True, exist_ok=True)
        trainer.train(spec, options.out)
    except SpecError as error:
        print(f"weft_training: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
