"""A model's name on a hub, `user/repo[:quant]`, and which files of the repository that is. Touches no network.

What a repository holds is untrusted: names that would leave a folder are refused.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import HubError, UsageError
from ..gguf.parts import MOST_PARTS, PART_NAME
from ..units import size_text

COLUMNS = ("quantisation", "size", "parts", "file")
LATEST = "latest"  # what others write for no wish
# no wish takes the first of these that is there: Q4_K_M, then what is nearest to its size, larger before smaller
_ORDER = """
    Q4_K_M Q4_K_L Q4_K_XL Q4_K_S IQ4_NL IQ4_XS Q4_1 Q4_0 MXFP4_MOE MXFP4 NVFP4 Q5_K_S Q5_K_M Q5_K_L Q5_K_XL Q5_0 Q5_1
    Q3_K_L Q3_K_XL Q6_K Q6_K_L Q6_K_XL Q3_K_M Q8_0 Q8_K_XL IQ3_M Q3_K_S IQ3_S IQ3_XS IQ3_XXS BF16 F16 Q2_K_L Q2_K_XL
    Q2_K Q2_K_S IQ2_M IQ2_S IQ2_XS IQ2_XXS F32 TQ2_0 TQ1_0 IQ1_M IQ1_S Q1_0
"""
PREFERRED = tuple(_ORDER.split())
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)+|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=$|[-.])",
    re.IGNORECASE | re.ASCII,
)
_NO_MODELS = ("mmproj", "imatrix")  # GGUF files beside a model: its eyes, and what its quantisation was weighed by


@dataclass(frozen=True)
class Wanted:
    """quant, file: "" where nothing is said of it; `file` is a path inside of the repository."""

    repo: str
    quant: str = ""
    file: str = ""


@dataclass(frozen=True)
class HubModel:
    """A model in a repository: its files in order, bytes of all (None where the hub does not say), and what parts of
    it the repository lacks."""

    quant: str
    paths: tuple[str, ...]
    nbytes: int | None
    n_missing: int = 0


def parse(text: str, file: str = "") -> Wanted:
    """`user/repo[:quant]`; UsageError for what is none."""
    repo, colon, quant = text.partition(":")
    if not _REPO.fullmatch(repo) or ".." in repo or (colon and not re.fullmatch(r"[\w.-]{1,64}", quant, re.ASCII)):
        raise UsageError(f"{text!r:.200}: expected user/repo or user/repo:quant, as in user/model-GGUF:Q4_K_M")
    return Wanted(repo, "" if quant.lower() == LATEST else quant, file)


def check_file(repo: str, path: str) -> None:
    """HubError for a name that could lead out of a folder, on any platform."""
    parts = path.split("/")
    if not path.isprintable() or any(c in path for c in '\\:"<>|?*') or any(part in ("", ".", "..") for part in parts):
        raise HubError(f"{repo}: the file name {path!r:.200} leads out of its folder or is none; nothing is fetched")


def models_in(repo: str, sizes: Mapping[str, int | None]) -> list[HubModel]:
    """The models among a repository's files ({path: bytes}), those in several files as one."""
    groups: dict[tuple[str, int], dict[int, str]] = {}
    for path in sorted(sizes):
        if not path.lower().endswith(".gguf") or any(word in _name(path).lower() for word in _NO_MODELS):
            continue
        check_file(repo, path)
        part = PART_NAME.fullmatch(path)
        count = int(part["count"]) if part else 1
        key = (part["stem"], count) if part and 1 <= count <= MOST_PARTS else (path, 1)
        groups.setdefault(key, {})[int(part["number"]) if part else 1] = path
    return [_model(stem, count, files, sizes) for (stem, count), files in groups.items()]


def choose(wanted: Wanted, models: Sequence[HubModel]) -> HubModel:
    """The model that is meant; HubError, with the catalogue where the name does not decide, if there is not one."""
    if not models:
        raise HubError(f"{wanted.repo}: no GGUF file of a model there")
    found = _by_file(wanted, models) if wanted.file else _by_quant(wanted, models)
    if len(found) > 1:
        hint = "a quantisation (user/repo:quant) or a file (--hf-file) says which"
        raise HubError(f"{wanted.repo}: {len(found)} models fit; {hint}", catalogue(found))
    if found[0].n_missing:
        what = f"{found[0].n_missing} of {found[0].n_missing + len(found[0].paths)} parts are missing"
        raise HubError(f"{wanted.repo}: {found[0].paths[0]}: {what} there")
    return found[0]


def catalogue(models: Iterable[HubModel]) -> list[tuple[str, ...]]:
    """A row for each, under COLUMNS; the quantisation asked for without a wish first."""
    rows = sorted(models, key=lambda m: (_rank(m), m.paths))
    return [(m.quant or "?", size_of(m), str(len(m.paths) + m.n_missing), m.paths[0]) for m in rows]


def size_of(model: HubModel) -> str:
    return "size unknown" if model.nbytes is None else size_text(model.nbytes)


def quant_of(path: str) -> str:
    """What a file's name, or else its folder's, says of its type; "" where neither says a thing."""
    folder, _, name = path.rpartition("/")
    for text in (name.removesuffix(".gguf"), folder.rpartition("/")[2]):
        if found := _QUANT.findall(text):
            return found[-1].upper().replace("FP16", "F16").replace("FP32", "F32")
    return ""


def _model(stem: str, count: int, files: Mapping[int, str], sizes: Mapping[str, int | None]) -> HubModel:
    paths = tuple(files[i] for i in sorted(files))
    each = [sizes[path] for path in paths]
    known = [size for size in each if size is not None]
    return HubModel(quant_of(stem), paths, sum(known) if len(known) == len(each) else None, count - len(paths))


def _by_file(wanted: Wanted, models: Sequence[HubModel]) -> list[HubModel]:
    found = [m for m in models if wanted.file in m.paths] or [m for m in models if wanted.file in map(_name, m.paths)]
    if not found:
        raise HubError(f"{wanted.repo}: no model {wanted.file!r:.200} there; there is {_listed(models, by_file=True)}")
    return found


def _by_quant(wanted: Wanted, models: Sequence[HubModel]) -> list[HubModel]:
    quant = wanted.quant.upper()
    if not quant:
        best = min(map(_rank, models))
        return [m for m in models if _rank(m) == best]
    found = [m for m in models if m.quant == quant] or [m for m in models if m.quant == f"UD-{quant}"]
    if not found:
        raise HubError(f"{wanted.repo}: no {quant} there; there is {_listed(models)}")
    return found


def _rank(model: HubModel) -> tuple[int, bool, str]:
    """How far from what is taken without a wish; whole models before those that lack parts."""
    plain = model.quant.removeprefix("UD-")
    place = PREFERRED.index(plain) if plain in PREFERRED else len(PREFERRED)
    return place + (1000 if model.n_missing else 0), plain != model.quant, model.quant


def _listed(models: Sequence[HubModel], by_file: bool = False) -> str:
    rows = [(row[3] if by_file or row[0] == "?" else row[0], row[1]) for row in catalogue(models)]
    shown = ", ".join(f"{name} ({size})" for name, size in rows[:40])
    return shown + (f" and {len(rows) - 40} more" if len(rows) > 40 else "")


def _name(path: str) -> str:
    return path.rpartition("/")[2]
