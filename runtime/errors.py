"""Every error that vkrun raises on purpose: one clear line, naming the thing and both values."""

from collections.abc import Sequence


def reason(error: BaseException) -> str:
    """What went wrong, in the system's words where it was the system: less the number and path that Python adds."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class VkrunError(Exception):
    """Base of all errors a caller may want to catch."""


class GGUFError(VkrunError):
    """A model file that is damaged, hostile or not what its keys promise."""


class LayoutError(VkrunError, ValueError):
    """A view that its tensor cannot have."""


class GraphError(VkrunError, ValueError):
    """Operands that an op cannot take."""


class ConvertError(VkrunError):
    """A checkpoint that cannot be converted."""


class ModelError(VkrunError):
    """A sound file that holds no model vkrun can run."""


class TextError(VkrunError):
    """Text, tokens or a chat template that cannot be processed."""


class BackendError(VkrunError):
    """A backend or device that is missing, cannot do what is asked, or failed."""


class SessionError(VkrunError):
    """A saved session that cannot be written or read, is damaged, hostile or another model's."""


class UsageError(VkrunError, ValueError):
    """Arguments out of their range."""


class HubError(VkrunError):
    """A model that a hub does not have, or that cannot be fetched. catalogue: a row for each that may be meant."""

    def __init__(self, text: str, catalogue: Sequence[tuple[str, ...]] = ()) -> None:
        super().__init__(text)
        self.catalogue = tuple(catalogue)
