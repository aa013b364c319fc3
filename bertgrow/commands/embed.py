"""Embeds the lines of a text file with a trained model."""

from pathlib import Path

from bertgrow.commands import fill

EPILOG = """examples:
  bertgrow embed --from RUN --input sentences.txt --output vectors.npy
  bertgrow embed --from HF_DIR --input sentences.txt.xz --pooling cls --output vectors.parquet

A line is a text, and gives one float32 vector. A .npy file holds the matrix [lines, width], a
.parquet file the columns `text` and `embedding`. The same command continues after a stop."""


def add_arguments(parser):
    fill.add_source(parser)
    parser.add_argument(
        "--input", required=True, type=Path, metavar="FILE",
        help="UTF-8 text, a line a text; also .gz, .xz and .zst",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="new .npy or .parquet file"
    )
    parser.add_argument(
        "--pooling", default="mean", choices=("mean", "cls", "max"),
        help="of the hidden states of a text; default mean",
    )  # fmt: skip


def main(args):
    # Imported here because they load JAX, which `--help` does not need.
    from bertgrow.inference import embed_file, model

    embed_file.check_output(args.output)
    number = embed_file.embed_file(
        model.load(args.source, args.step), args.input, args.output, pooling=args.pooling
    )
    print(f"written: {number} vectors in {args.output}")
    return 0
