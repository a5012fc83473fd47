"""How much, in words."""


def size_text(nbytes: int) -> str:
    """1234567 -> `1.2 MiB`"""
    size, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1000 and len(units) > 1:  # at 1000, so that no more than three digits are printed
        size /= 1024
        units.pop(0)
    return f"{nbytes} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
