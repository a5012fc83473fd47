"""The processes that own devices: what runs in one, and how the server's process starts, feeds and watches them."""
