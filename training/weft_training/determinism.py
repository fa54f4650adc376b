"""Makes a training run repeat bit for bit on one machine: one thread, fixed hashing of nothing, fixed seeds."""

import os

SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}


def apply() -> None:
    """Sets what numeric libraries read when they are first imported, so it must run before any of them is."""
    os.environ.update(SINGLE_THREAD)
