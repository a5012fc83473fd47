"""The version, at the bottom, so that nothing has to import the package's root for it."""

VERSION = "0.1.0"
