"""How a domain's values become JSON, and JSON the same values again."""

from framework.codec.codec import Codec

__all__ = ["Codec"]
