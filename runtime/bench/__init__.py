"""`vkrun bench`: llama-bench's tests and tables, the ladder of optimisation levels, and profiles."""
