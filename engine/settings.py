"""Types that settings are made of: frozen models and numbers with a legal range."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A record that cannot change, that refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number >= 1 (``"3"`` and ``true`` are refused)."""

Whole = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
"""A whole number >= 0, of 63 bits."""

Positive = Annotated[float, Field(strict=True, gt=0)]
"""A number > 0."""

NonNegative = Annotated[float, Field(strict=True, ge=0)]
"""A number >= 0."""

Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A number in [0, 1]."""

Flag = Annotated[bool, Field(strict=True)]
"""true or false."""
