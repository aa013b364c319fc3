"""GLUE and tables by their names in TFDS, on a data set that is made here."""

import numpy as np
import pretrained_models
import pytest

from bertgrow.core.errors import InputError
from bertgrow.finetune import reading, tables

CLASSES = ["entailment", "not_entailment"]
ROWS = 24  # of training


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """A data set `pairs` with the columns of two tasks of GLUE."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")

    class Pairs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = folder

        def _info(self):
            text, number = tfds.features.Text(), tfds.features.Scalar(np.int32)
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(dict(
                    sentence=text, sentence1=text, sentence2=text, idx=number,
                    label=tfds.features.ClassLabel(names=CLASSES),
                ))
            )  # fmt: skip

        def _split_generators(self, _):
            def rows(count, label):
                return [
                    (n, dict(sentence="the list", sentence1="in paris", sentence2="a file",
                             idx=n, label=label if label < 0 else n % 2))
                    for n in range(count)
                ]  # fmt: skip

            return dict(train=rows(ROWS, 0), validation=rows(5, 0), test=rows(3, -1))

        def _generate_examples(self):
            raise NotImplementedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        Pairs(data_dir=folder, file_format="array_record").download_and_prepare()
        yield "tfds:pairs"


def read(task, data, **options):
    return reading.read(task, data, pretrained_models.tokenizer(), 32, **options)


@pytest.mark.parametrize(
    "task, labels",
    [
        ("glue/sst2", [0, 1, 0, 1, 0]),  # by number
        ("glue/rte", [1, 0, 1, 0, 1]),  # by name: the order of GLUE's classes is another one
    ],
)
def test_a_task_of_glue_is_read_by_the_names_of_tfds(data_set, task, labels):
    problem = read(task, data_set)

    (dev,), (test,) = problem.dev.values(), problem.test.values()
    assert (len(problem.train), len(dev), len(test)) == (ROWS, 5, 3)
    assert dev.labels.tolist() == labels


def test_rows_are_in_the_order_of_their_numbers_and_classes_have_names(data_set):
    table = tables.read(data_set)

    assert table.column("idx") == list(range(ROWS))
    assert table.column("label")[:2] == CLASSES
    assert table.texts("sentence1")[0] == "in paris"


def test_a_labelled_data_set_is_classified(data_set):
    columns = ("sentence", None, "label")
    problem = read("classify", data_set, columns=columns, dev="tfds:pairs:validation")

    assert problem.classes == CLASSES
    assert len(problem.dev["dev"]) == 5


@pytest.mark.parametrize(
    "task, name, expected",
    [
        ("glue/mnli", "tfds:pairs", "row 2: label 'not_entailment'; expected contra"),
        ("squad1", "tfds:pairs", "reads the JSON files of SQuAD"),
        ("glue/sst2", "tfds:pears", "tfds:pears:train: "),
    ],
)
def test_what_tfds_has_not_is_one_line(data_set, task, name, expected):
    with pytest.raises(InputError, match=expected) as raised:
        read(task, name)
    assert "\n" not in str(raised.value)
