"""Models of a hub, kept where huggingface_hub keeps them: its cache, its tokens, its downloads, which mend themselves.

What a hub answers is untrusted: names and hashes that become paths are checked before anything is written.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub as hf
from huggingface_hub import errors
from huggingface_hub.utils import get_session
from huggingface_hub.utils import logging as hf_logging
from tqdm import tqdm

from ..errors import HubError
from ..units import size_text
from .names import HubModel, Wanted, choose, models_in, size_of

TIMEOUT = 15.0  # seconds for what a repository holds
Note = Callable[[str], None]
Progress = Callable[[str, int, int], None]
_IN_PATHS = ("x-repo-commit", "x-xet-hash")  # headers of which huggingface_hub makes paths, beside a file's etag
# its HTTPError is httpx's or httpx2's, by its version
_NO_ANSWER = (
    errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    errors.OfflineModeIsEnabled,
    errors.LocalEntryNotFoundError,
)
_TOKENS = "HF_TOKEN, --hf-token or `hf auth login`"
_HASH = re.compile(r"(?:W/)?\"?[0-9A-Za-z][\w-]{0,127}\"?", re.ASCII)


class Unreached(HubError):
    """A hub that gives no answer, which what is there may stand in for."""


@dataclass(frozen=True)
class Stored:
    """A whole model in the cache: `folder` holds its paths; `when` it was last fetched, in seconds since 1970."""

    repo: str
    model: HubModel
    folder: Path
    when: float

    @property
    def path(self) -> str:
        return str(self.folder / self.model.paths[0])


class Store:
    """token, endpoint, cache: None leaves them to huggingface_hub and its variables. offline: only what is there."""

    def __init__(
        self,
        token: str | None = None,
        offline: bool = False,
        note: Note = lambda _text: None,
        progress: Progress = lambda _what, _done, _total: None,
        endpoint: str | None = None,
        cache: Path | None = None,
    ) -> None:
        hf_logging.set_verbosity_error()  # what goes wrong is said here, in a line
        self._token, self._endpoint = token, endpoint or hf.constants.ENDPOINT
        self._cache = Path(cache or hf.constants.HF_HUB_CACHE)
        self._offline = offline or hf.constants.HF_HUB_OFFLINE
        self._note, self._progress = note, progress

    def fetch(self, wanted: Wanted) -> str:
        """The path of a model's file, its first where it has several, fetched where it is not there yet."""
        if not self._offline:
            try:
                return self._download(wanted, choose(wanted, self.models(wanted.repo)))
            except Unreached as error:
                if not any(s.repo == wanted.repo for s in self.stored()):
                    raise
                self._note(f"{error}; what is there is used")
        elif not any(s.repo == wanted.repo for s in self.stored()):
            raise HubError(f"{wanted.repo}: no model of it in {self._cache} (offline)")
        return self.find(wanted).path

    def models(self, repo: str) -> list[HubModel]:
        """What a repository has; offline, what of it is there."""
        if self._offline:
            return [s.model for s in self.stored() if s.repo == repo]
        with self._said(repo):
            info = hf.HfApi(self._endpoint).model_info(repo, files_metadata=True, timeout=TIMEOUT, token=self._token)
            return models_in(repo, dict(map(_file_and_size, info.siblings or ())))

    def stored(self) -> list[Stored]:
        """Whole models in the cache, the newest of each, by name."""
        found: dict[tuple[str, tuple[str, ...]], Stored] = {}
        for each in sorted(self._all_stored(), key=lambda s: -s.when):
            found.setdefault((each.repo, each.model.paths), each)
        return sorted(found.values(), key=lambda s: (s.repo.lower(), s.model.paths))

    def find(self, wanted: Wanted) -> Stored:
        """A model that is there; HubError if there is none."""
        there = {s.model: s for s in self.stored() if s.repo == wanted.repo}
        if not there:
            raise HubError(f"{wanted.repo}: no model of it in {self._cache}")
        return there[choose(wanted, list(there))]

    def remove(self, wanted: Wanted) -> tuple[list[str], int]:
        """Delete a model, or all of a repository's where neither type nor file is named: names, and bytes freed."""
        named = self.find(wanted) if wanted.quant or wanted.file else None
        there = [named] if named else [s for s in self.stored() if s.repo == wanted.repo] or [self.find(wanted)]
        paths = {path for s in there for path in s.model.paths}
        gone = [file for file, path in self._cached_files(wanted.repo) if path in paths]
        kept = {file.blob_path for file, path in self._cached_files(wanted.repo) if path not in paths}
        blobs = {file.blob_path: file.size_on_disk for file in gone if file.blob_path not in kept}
        with self._said(wanted.repo):
            for path in (*(file.file_path for file in gone), *blobs):
                path.unlink(missing_ok=True)
        return sorted(paths), sum(blobs.values())

    def _download(self, wanted: Wanted, model: HubModel) -> str:
        there = {path: file.size_on_disk for file, path in self._cached_files(wanted.repo)}
        needed = 0 if all(path in there for path in model.paths) else model.nbytes or 0
        if needed:
            first, *others = model.paths
            count = f" in {1 + len(others)} files" if others else ""
            self._note(f"{wanted.repo}: fetching {first}, {size_of(model)}{count}")
            self._check_room(wanted.repo, needed)
        got, done = list[str](), 0
        with self._said(wanted.repo):
            for path in model.paths:
                got.append(self._download_file(wanted.repo, path, _bar(self._progress, done, model.nbytes or 0)))
                done += os.path.getsize(got[-1])
        folders = {made[: -len(path)] for made, path in zip(got, model.paths, strict=True)}
        if len(folders) > 1:
            raise HubError(f"{wanted.repo}: changed while it was fetched; once more fetches what is new")
        return got[0]

    def _download_file(self, repo: str, path: str, bar: type[tqdm]) -> str:
        session = get_session()
        hooks = session.event_hooks
        if _check_answer not in hooks["response"]:
            session.event_hooks = {**hooks, "response": [*hooks["response"], _check_answer]}
        return hf.hf_hub_download(
            repo, path, cache_dir=self._cache, token=self._token, endpoint=self._endpoint, tqdm_class=bar
        )

    def _check_room(self, repo: str, needed: int) -> None:
        at = next(p for p in (self._cache, *self._cache.absolute().parents) if p.exists())
        if needed > (free := shutil.disk_usage(at).free):
            raise HubError(f"{repo}: {size_text(needed)} to fetch, {size_text(free)} free in {self._cache}")

    def _all_stored(self) -> Iterator[Stored]:
        for repo in self._repos():
            for revision in repo.revisions:
                sizes = {_inside(file, revision): file.size_on_disk for file in revision.files}
                models = models_in(repo.repo_id, sizes)
                when = revision.last_modified
                yield from (Stored(repo.repo_id, m, revision.snapshot_path, when) for m in models if not m.n_missing)

    def _cached_files(self, name: str) -> Iterator[tuple[Any, str]]:
        """A repository's files in the cache, of every revision, and their paths in it."""
        for repo in self._repos():
            for revision in repo.revisions if repo.repo_id == name else ():
                yield from ((file, _inside(file, revision)) for file in revision.files)

    def _repos(self) -> list[Any]:
        try:
            return [repo for repo in hf.scan_cache_dir(self._cache).repos if repo.repo_type == "model"]
        except errors.CacheNotFound:
            return []
        except OSError as error:
            raise HubError(f"{self._cache}: cannot read: {error.strerror}") from None

    @contextmanager
    def _said(self, repo: str) -> Iterator[None]:
        """Whatever goes wrong inside becomes a line that says whose fault it is and what helps."""
        try:
            yield
        except HubError:
            raise
        except Exception as error:
            made = self._explained(repo, error)
            if made is None:
                raise
            raise made from None

    def _explained(self, repo: str, error: Exception) -> HubError | None:
        host = urlsplit(self._endpoint).netloc
        if isinstance(error, errors.HfHubHTTPError):
            return (
                HubError(f"{repo}: {_refusal(error)}")
                if error.response.status_code < 500
                else Unreached(f"{repo}: {host} answers {error.response.status_code}")
            )
        if isinstance(error, _NO_ANSWER):
            return Unreached(f"{repo}: {host} cannot be reached: {_first_line(error)}")
        if isinstance(error, OSError):
            why = error.strerror or _first_line(error)
            return HubError(f"{repo}: {why}" + (f" ({error.filename})" if error.filename else f" ({self._cache})"))
        if isinstance(error, ValueError | TypeError | KeyError | AttributeError | LookupError):
            return HubError(f"{repo}: {host} answers what no hub does: {type(error).__name__}: {_first_line(error)}")
        return None


def _refusal(error: errors.HfHubHTTPError) -> str:
    code = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return f"gated ({code}): its page says who may have it; who you are say {_TOKENS}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such repository ({code}), or one that only a token opens: {_TOKENS}"
    if code in (401, 403):
        return f"not allowed ({code}); a token may be: {_TOKENS}"
    return f"refused ({code}): {_first_line(error)}"


def _check_answer(response: Any) -> None:
    """Raises HubError for a header of a file that would lead out of the cache."""
    if response.request.method != "HEAD":  # what huggingface_hub asks of a file before it is fetched
        return
    etag = "x-linked-etag" if "x-linked-etag" in response.headers else "etag"
    for name in (etag, *_IN_PATHS):
        value = response.headers.get(name)
        if value is not None and not _HASH.fullmatch(value):
            raise HubError(f"{response.url.host} answers with {name} {value!r:.90}, which is no hash; nothing is kept")


def _file_and_size(file: Any) -> tuple[str, int | None]:
    if not isinstance(file.rfilename, str):
        raise TypeError(f"a file called {file.rfilename!r:.100}")
    return file.rfilename, file.size if isinstance(file.size, int) and file.size >= 0 else None


def _inside(file: Any, revision: Any) -> str:
    return file.file_path.relative_to(revision.snapshot_path).as_posix()


def _first_line(error: Exception) -> str:
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error).strip())
    return next(iter(text.splitlines()), type(error).__name__)[:200]


def _bar(progress: Progress, before: int, total: int) -> type[tqdm]:
    """What huggingface_hub makes and moves for a file, one bar or two of the same bytes: it shows nothing itself and
    tells `progress`. before: bytes of the files ahead of it, of `total`."""
    done = 0

    class Told(tqdm):
        def __init__(self, *_args: Any, initial: int = 0, **options: Any) -> None:
            super().__init__(total=options.get("total"), initial=initial, disable=True)
            self.n = initial

        def update(self, n: float | None = 1) -> None:
            nonlocal done
            self.n += n or 0
            done = max(done, int(self.n))
            progress("fetching", min(before + done, total), total)

    return Told
