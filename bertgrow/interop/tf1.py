"""Reads and writes models in the checkpoints of Google's BERT and MobileBERT code (TF1)."""

from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.core.layouts import TF1
from bertgrow.interop import conversion, tf1_bundle, tokenizer_files
from bertgrow.interop.hugging_face import check_complete, make_folder
from bertgrow.interop.pretrained import Pretrained, find_family, fit, read_json, write_json
from bertgrow.models import families

CONFIG, CHECKPOINT = "bert_config.json", "bert_model.ckpt"


def read(prefix, *, vocab=None, cased=None, fresh=conversion.HEADS):
    """Reads a model of a checkpoint; arguments and results as `hugging_face.read`.

    Args:
      prefix: path of the checkpoint without `.index`; bert_config.json and vocab.txt are in
        its folder. The slots of Adam and LAMB are left out.
    """
    prefix = Path(str(prefix).removesuffix(".index"))
    fields = read_json(_config(prefix.parent))
    name = find_family(fields)
    family = families.find(name)
    tensors = tf1_bundle.read(prefix)
    config = family.layouts.read(fields, tensors.keys(), TF1)
    tokenizer, file = tokenizer_files.read(prefix.parent, vocab=vocab, cased=cased)
    config = fit(config, tokenizer, file)
    params, account = conversion.load(tensors, family, config, TF1, fresh=fresh)
    pretrained = Pretrained(name, config, params, tokenizer, str(prefix), fresh=account.fresh)
    return pretrained, account


def _config(folder):
    """The file of the configuration: bert_config.json, or the only one with such a name."""
    named = [folder / CONFIG] if (folder / CONFIG).is_file() else []
    files = named or sorted(folder.glob("*config*.json"))
    if len(files) != 1:
        raise InputError(f"{folder} has {len(files)} files *config*.json; expected {CONFIG}")
    return files[0]


def write(folder, model):
    """Writes a `Pretrained` as bert_model.ckpt.*, bert_config.json and vocab.txt."""
    folder, family = Path(folder), families.find(model.family)
    fields = family.layouts.write(model.config, TF1)
    check_complete(model)
    if model.tokenizer.kind != "wordpiece":
        raise InputError(
            "the vocabulary is a SentencePiece model, which Google's BERT does not read: use "
            "--to bertgrow"
        )
    make_folder(folder)
    tensors = conversion.dump(model.params, family, model.config, TF1)
    tf1_bundle.write(folder / CHECKPOINT, tensors)
    write_json(folder / CONFIG, fields)
    (folder / "vocab.txt").write_bytes(model.tokenizer.content)
