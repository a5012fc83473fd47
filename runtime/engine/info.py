"""ModelInfo: what is said of a loaded model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelInfo:
    """What was loaded, and onto what. Sizes in bytes."""

    architecture: str
    kind: str  # as benchmarks name it: architecture, size, the type most bytes are of
    name: str
    path: str
    n_params: int
    nbytes: int
    n_layers: int
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_seqs: int
    cache_types: tuple[str, str]  # of keys and of values
    backend: str
    device: str
    driver: str
    is_software: bool
    notes: tuple[str, ...]  # what of the file is not used
    needs: str  # what is kept on the device, beside what it had free
    tuning: str  # by which thresholds kernels are chosen where some were kept for the device, or why they are not used
    shrunk: str  # why the context is smaller than it would be by itself, where it is
