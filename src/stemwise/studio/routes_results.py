"""Routes of results: what the player needs, and downloads."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api/jobs/{id}", tags=["results"])
