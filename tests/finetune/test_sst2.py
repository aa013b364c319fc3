"""A real run: a part of SST-2 with the trained layers of a BERT-tiny."""

import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertgrow.interop import conversion, hugging_face, native
from bertgrow.models import families
from bertgrow.models.bert import BertConfig

pytest.importorskip("sklearn", reason="scikit-learn is absent; install the package again")
ROWS = 4_000  # of 67,349
PROGRAM = """import sys, commands
from bertgrow.commands import finetune
sys.exit(commands.run(finetune, *sys.argv[1:]))"""


@pytest.mark.slow
def test_a_real_encoder_learns_a_part_of_sst2(real_data, tmp_path):
    """Its word table is random, as the file has none, so this is far from BERT-tiny's 83 %."""
    source = real_data.parent / "weights" / "bert_tiny_sst2_encoder"
    if not source.is_dir():
        pytest.skip("the trained encoder is absent")
    _model(source, real_data, tmp_path)
    _data(real_data / "glue" / "SST-2", tmp_path / "SST-2")

    # A process of its own, with optimised programs on one device: 8 simulated ones would copy
    # the gradients of the word table to each other in every step.
    words = ["--task", "glue/sst2", "--from", "model", "--data", ".", "--workdir", "W"]
    words += ["--learning-rate", "1e-3", "--epochs", "2"]
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here.parents[1]), str(here)])
    subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=tmp_path, check=True,
        env=os.environ | dict(PYTHONPATH=paths, XLA_FLAGS=""),
    )  # fmt: skip

    results = json.loads((tmp_path / "W" / "results.json").read_text())
    assert results["metrics"]["SST-2"]["accuracy"] > 0.6  # the majority class has 0.509
    assert results["details"]["SST-2"]["majority"] is None


def _model(source, real_data, folder):
    config = BertConfig(num_layers=2, width=128, num_heads=2, ffn_width=512, dtype="float32")
    fields = families.find("bert").layouts.write(config, "hf")
    shutil.copy(source / "encoder.npz", folder)
    (folder / "config.json").write_text(json.dumps(fields))
    pretrained, _ = hugging_face.read(
        folder / "encoder.npz", vocab=real_data / "vocab" / "bert-base-uncased-vocab.txt",
        fresh=(*conversion.HEADS, "embeddings"),
    )  # fmt: skip
    native.write(folder / "model", pretrained)


def _data(source, folder):
    folder.mkdir()
    shutil.copy(source / "dev.tsv.xz", folder)
    with lzma.open(source / "train.tsv.xz", "rt", encoding="utf-8") as lines:
        part = [line for line, _ in zip(lines, range(ROWS + 1), strict=False)]
    (folder / "train.tsv").write_text("".join(part), "utf-8")
