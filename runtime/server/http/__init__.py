"""OpenAI's API, and Anthropic's, in front of the workers: a Starlette application."""
