"""What a trainer is told: one JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SpecError(Exception):
    """The specification or the training set cannot be used; the message says which part and why."""


@dataclass(frozen=True)
class Spec:
    """A model to train."""

    scenario: str
    model: str
    features: tuple[str, ...]
    """Feature references, in the order of the input tensor's columns."""
    output: str
    """Name of the output tensor."""
    train_file: Path
    content_hash: str
    test_from_us: int
    """Rows with event_time at or after this are the test split."""
    parameters: dict[str, Any]
    seed: int

    def parameter(self, name: str, default: Any) -> Any:
        """A parameter of the model, or the default where it declares none."""
        return self.parameters.get(name, default)

    def check_parameters(self, known: set[str]) -> None:
        """Refuses parameters that the trainer does not read, so that a misspelt one cannot pass unseen."""
        unknown = sorted(set(self.parameters) - known)
        if unknown:
            raise SpecError(f"model {self.model}: unknown parameters {unknown}; known: {sorted(known)}")


def read_spec(path: Path) -> Spec:
    """Reads spec.json. Raises SpecError that names the field at fault."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected a JSON object")

    def field(name: str, kind: type | tuple[type, ...]) -> Any:
        value = raw.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise SpecError(f"{path}: field {name!r} is {value!r}")
        return value

    features = field("features", list)
    if not features or not all(isinstance(f, str) for f in features) or len(set(features)) != len(features):
        raise SpecError(f"{path}: field 'features' must be a list of different names")
    try:
        test_from_us = int(field("test_from_us", (str, int)))
    except ValueError as error:
        raise SpecError(f"{path}: field 'test_from_us': {error}") from error
    return Spec(
        scenario=field("scenario", str),
        model=field("model", str),
        features=tuple(features),
        output=field("output", str),
        train_file=Path(field("train_file", str)),
        content_hash=field("content_hash", str),
        test_from_us=test_from_us,
        parameters=raw.get("parameters") or {},
        seed=field("seed", int),
    )
