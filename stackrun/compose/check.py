"""x"""
from __future__ import annotations
from typing import Any
def check_project(root: Any, disabled: Any, reader: Any) -> None: ...
