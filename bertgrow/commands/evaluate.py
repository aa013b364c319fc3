"""Scores predictions of SQuAD and GLUE, or the pseudo-perplexity of a model."""

import json
import math
from pathlib import Path

from bertgrow.core.errors import InputError

EPILOG = """examples:
  bertgrow evaluate --task squad1 --predictions answers.json --data dev-v1.1.json
  bertgrow evaluate --task squad2 --predictions answers.json --na-prob-file odds.json \\
      --data dev-v2.0.json.xz --json
  bertgrow evaluate --task glue/mrpc --predictions MRPC.tsv --data GLUE
  bertgrow evaluate --task pseudo-perplexity --from RUN --data sentences.txt

SQuAD's scores equal those of the official scripts. With --na-prob-file there are also the best
thresholds. GLUE's predictions are in the layout of submissions."""
PERPLEXITY = "pseudo-perplexity"


def add_arguments(parser):
    parser.add_argument(
        "--task", required=True, help=f"squad1, squad2, glue/NAME or {PERPLEXITY}"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="JSON of SQuAD, TSV of GLUE"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE|DIR",
        help="SQuAD file, folder of GLUE, or text with one sentence a line",
    )  # fmt: skip
    parser.add_argument(
        "--na-prob-file", type=Path, metavar="FILE",
        help="JSON of squad2: score of each question that it has no answer",
    )  # fmt: skip
    parser.add_argument(
        "--na-prob-thresh", type=float, default=1.0, metavar="X",
        help="no answer above this score; default 1, as in the official script",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="source", metavar="WORKDIR|HF_DIR", help=f"model of {PERPLEXITY}"
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help="checkpoint of the run; default the newest"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args):
    result = _perplexity(args) if args.task == PERPLEXITY else _scores(args)
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    for name, value in result.items():
        print(f"{name:22} {value:,}" if isinstance(value, int) else f"{name:22} {value:.4f}")
    return 0


def _scores(args):
    from bertgrow.finetune import scores

    kind, task = scores.of_task(args.task)
    if args.predictions is None:
        raise InputError(f"--task {args.task} needs --predictions FILE")
    if kind == "glue":
        return scores.glue_task(task, args.predictions, args.data)
    if args.na_prob_file and kind == "squad1":
        raise InputError("--na-prob-file is of squad2: every question of squad1 has an answer")
    return scores.squad(
        args.predictions, args.data, is_v2=kind == "squad2", null_odds=args.na_prob_file,
        threshold=args.na_prob_thresh,
    )  # fmt: skip


def _perplexity(args):
    from bertgrow.data.corpus import files
    from bertgrow.inference import model

    if args.source is None:
        raise InputError(f"--task {PERPLEXITY} needs --from WORKDIR|HF_DIR")
    if not args.data.is_file():
        raise InputError(f"--data {args.data}: there is no such file; give a text")
    with files.damage_as_input_error(args.data), files.open_bytes(args.data) as stream:
        try:
            lines = [line.strip() for line in stream.read().decode().splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"--data {args.data} is not UTF-8 text: {error}") from None
    texts = [line for line in lines if line]
    if not texts:
        raise InputError(f"--data {args.data} has no text")
    scored = model.load(args.source, args.step).score(texts)
    tokens = sum(each.tokens for each in scored)
    loss = sum(each.loss * each.tokens for each in scored) / tokens
    return dict(pseudo_perplexity=math.exp(loss), loss=loss, tokens=tokens, texts=len(texts))
