"""How much memory the machine itself has to give: systems hand out more, and kill who touches it."""


def host_nbytes_free() -> int:
    """What the machine has free, where the system tells; otherwise more than anyone asks for."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 62
