"""Helpers of the tests of reports: the command, arms with seeds and a check of HTML."""

import argparse
import html.parser

import synthetic

from bertgrow.commands import report


def report_on(*words):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.main(parser.parse_args([str(word) for word in words]))


def arm(folder, name, losses, stages=synthetic.WHOLE, first_seed=0, **more):
    """One synthetic run a loss, as seeds of one arm."""
    return [
        synthetic.run(folder / f"{name}-seed{s}", stages, losses=loss, seed=s, **more)
        for s, loss in enumerate(losses, start=first_seed)
    ]


class Tags(html.parser.HTMLParser):
    """Notes tags closed out of order, and attributes that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.loads = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)
        self.loads += [a for a in attributes if a[0] in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)
