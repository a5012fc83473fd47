"""`vkrun graph`: a layer's graph before and after the passes, as SVG, dot or JSON, with counts."""
