"""Exports a trained model to Hugging Face, to TF1, or to plain safetensors."""

from pathlib import Path

from bertgrow.commands import fill

EPILOG = """examples:
  bertgrow export --to hf --from RUN --output DIR
  bertgrow export --to tf1 --from RUN --output DIR
  bertgrow export --to bertgrow --from RUN --step 1000 --output DIR

`hf` is for `AutoModel.from_pretrained(DIR)` and `AutoTokenizer.from_pretrained(DIR)`. `tf1` is
a checkpoint of Google's code. `bertgrow` holds models that other programs have no classes for;
`bertgrow.load(DIR)` reads it."""
PROGRAMS = ("hf", "tf1", "bertgrow")


def add_arguments(parser):
    parser.add_argument(
        "--to", required=True, choices=PROGRAMS, help="the program that is to read it"
    )
    fill.add_source(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="new folder")


def main(args):
    # Imported here because they load JAX, which `--help` does not need.
    from bertgrow.inference import model
    from bertgrow.interop import deviation, hugging_face, native, tf1

    pretrained = model.read(args.source, args.step)
    writers = dict(hf=hugging_face.write, tf1=tf1.write, bertgrow=native.write)
    remark = deviation.check(pretrained, args.to)
    writers[args.to](args.output, pretrained)
    if remark:
        print(remark)
    if pretrained.head and args.to != "hf":
        print(f"the head of {pretrained.head.task} is left out: only --to hf has it")
    step = "" if pretrained.step is None else f", step {pretrained.step}"
    print(f"written: {pretrained.family} of {pretrained.source}{step}, in {args.output}")
    return 0
