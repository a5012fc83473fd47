"""What requests may say and what is answered, as pydantic models: the OpenAPI description is made of them."""
