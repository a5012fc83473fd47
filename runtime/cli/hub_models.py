"""What commands ask of a hub: a model's file, with a bar while it comes; a catalogue where a name does not decide."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import HubError
from ..hub.names import COLUMNS, parse
from ..hub.store import Store
from .hub_options import FromHub
from .progress import Bar
from .screen import columns, lines, note


@contextmanager
def store(hub: FromHub) -> Iterator[Store]:
    """Inside, a bar is shown of what is fetched; a catalogue goes to stderr, a line a model, before its error."""
    with Bar() as bar:
        try:
            yield Store(hub.token, hub.offline, note, bar)
        except HubError as error:
            bar.stop()
            if error.catalogue:
                lines(columns([COLUMNS, *error.catalogue], right=(1, 2)))
            raise


def fetched(hub: FromHub) -> str:
    """The path of the model that `hub` names."""
    wanted = parse(hub.repo or "", hub.file or "")
    with store(hub) as s:
        return s.fetch(wanted)
