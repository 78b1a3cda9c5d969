# For tools that still call setup.py; pyproject.toml holds everything.
from scikit_build_core.setuptools.wrapper import setup

setup(cmake_source_dir=".")
