"""Patterns of paths as .dockerignore and `--exclude` have them.

Standard library only, for the helper walks by them too.
"""

from pycontainer.patterns.ignorefile import ignore_files, read_patterns
from pycontainer.patterns.matcher import PatternMatcher

__all__ = ["PatternMatcher", "ignore_files", "read_patterns"]
