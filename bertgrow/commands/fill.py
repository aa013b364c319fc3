"""Fills [MASK] in texts with a trained model."""

import json

EPILOG = """examples:
  bertgrow fill --from RUN "Paris is the [MASK] of France."
  bertgrow fill --from HF_DIR --top-k 3 --json "A [MASK] and a [MASK]."

A line has the probability of a token and the token; each [MASK] has its own lines."""


def add_arguments(parser):
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text with [MASK]")
    add_source(parser)
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="tokens of a [MASK]; default 5"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_source(parser):
    """Adds `--from` and `--step`, which name the model of a command."""
    parser.add_argument(
        "--from", required=True, dest="source", metavar="WORKDIR|HF_DIR",
        help="working directory of a run, or folder of a Hugging Face model",
    )  # fmt: skip
    parser.add_argument(
        "--step", type=int, metavar="N", help="checkpoint of the run; default the newest"
    )


def main(args):
    # Imported here because it loads JAX, which `--help` does not need.
    from bertgrow.inference import model

    predictions = model.load(args.source, args.step).fill_mask(args.texts, top_k=args.top_k)
    if args.json:
        pairs = zip(args.texts, predictions, strict=True)
        print(json.dumps([dict(text=text, masks=_plain(masks)) for text, masks in pairs]))
        return 0
    for text, masks in zip(args.texts, predictions, strict=True):
        print(text)
        for number, best in enumerate(masks):
            print(*[f"  {each.probability:.3f}  {each.token}" for each in best], sep="\n")
            if number + 1 < len(masks):
                print()
    return 0


def _plain(masks):
    return [[each._asdict() for each in best] for best in masks]
