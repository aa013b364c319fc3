"""Imports a model of Hugging Face or TF1 as a working directory."""

from pathlib import Path

EPILOG = """examples:
  bertgrow import --from hf DIR --workdir RUN
  bertgrow import --from hf DIR/pytorch_model.bin --vocab vocab.txt --workdir RUN
  bertgrow import --from tf1 DIR/bert_model.ckpt --workdir RUN

The model is checkpoint 0 of RUN. Fill masks with it, export it, train a teacher's student
from it (--config.transfer.teacher=RUN), or start a run from it (--config.init_from=RUN).
A file of weights needs its config.json, and TF1 its bert_config.json, in the same folder.
Every tensor is accounted for; one that is unexpected or of another shape is an error."""


def add_arguments(parser):
    parser.add_argument("path", type=Path, metavar="PATH", help="folder, file, or TF1 prefix")
    parser.add_argument(
        "--from", required=True, dest="program", choices=("hf", "tf1"), help="kind of files"
    )
    parser.add_argument("--workdir", required=True, type=Path, help="new working directory")
    parser.add_argument("--vocab", type=Path, help="vocab.txt or .model, if not in the folder")
    case = parser.add_mutually_exclusive_group()
    case.add_argument("--cased", action="store_true", default=None, help="letters keep case")
    case.add_argument("--uncased", action="store_false", dest="cased", help="they do not")
    parser.add_argument(
        "--fresh", action="append", default=[], metavar="MODULE",
        help="module that may be missing and gets random weights, such as embeddings; the "
        "heads may always",
    )  # fmt: skip


def main(args):
    # Imported here because they load JAX, which `--help` does not need.
    from bertgrow.interop import conversion, hugging_face, tf1
    from bertgrow.run import imported

    read = dict(hf=hugging_face.read, tf1=tf1.read)[args.program]
    pretrained, account = read(
        args.path, vocab=args.vocab, cased=args.cased, fresh=(*conversion.HEADS, *args.fresh)
    )
    imported.write(args.workdir, pretrained, account)
    print(account.text())
    layers = pretrained.config.num_layers
    print(f"written: {pretrained.family} with {layers} layers, in {args.workdir}")
    return 0
