"""Texts of files: no more than a context holds, in UTF-8, and what is said where they are not so."""

from pathlib import Path

from ..errors import VkrunError, reason

MAX_NBYTES = 64 << 20  # no context holds that much text


def file_text(path: str, option: str = "-f") -> str:
    """What an option names, without its last newline; VkrunError for what cannot be read or is no text."""
    try:
        with Path(path).open("rb") as f:
            data = f.read(MAX_NBYTES + 1)
    except (OSError, ValueError) as error:
        raise VkrunError(f"{option} {path}: cannot read: {reason(error)}") from None
    return text_of(data, f"{option} {path}")


def text_of(data: bytes, where: str) -> str:
    """Text of a file without its last newline, as llama.cpp takes it."""
    if len(data) > MAX_NBYTES:
        raise VkrunError(f"{where}: more than {MAX_NBYTES >> 20} MiB, too long for a prompt")
    return decoded(data, where).removesuffix("\n")


def decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise VkrunError(f"{where}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8") from None
