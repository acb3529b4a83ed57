"""The packages of the wheel: in it the app lies inside the library (`ubt/app/app.py`, `ubt/app/pages/`), in a clone of
the repository beside it. Everything else is in `pyproject.toml`.
"""

from setuptools import find_packages, setup

setup(
    script_name="setup.py",  # so that it is none of the modules beside it
    packages=[*find_packages(include=["ubt*"]), "ubt.app", "ubt.app.pages"],
    package_dir={"ubt.app": ".", "ubt.app.pages": "pages"},
)
