"""`serve run vkrun.serve.ray:app model=MODEL.gguf replicas=2`: see docs/scale.md."""

from ..runtime.server.ray.app import Arguments, app

__all__ = ["Arguments", "app"]
