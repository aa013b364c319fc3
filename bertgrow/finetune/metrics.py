"""Metrics of classification and regression, by scikit-learn and SciPy."""

import math

import numpy as np

CLASSIFY = ("accuracy", "f1", "matthews")
REGRESS = ("pearson", "spearman", "mse")


def compute(names, labels, predictions, *, num_classes=None):
    """Computes metrics, {name: float}.

    Args:
      names: some of `CLASSIFY` or of `REGRESS`.
      labels: int [examples] class numbers, or float [examples] scores.
      predictions: of the same shape and kind.
      num_classes: number of classes; F1 is that of class 1 of two, and the mean over the
        classes of more.
    """
    from scipy import stats
    from sklearn import metrics

    def f1():
        average = "binary" if num_classes == 2 else "macro"
        return metrics.f1_score(labels, predictions, average=average, zero_division=0)

    known = dict(
        accuracy=lambda: metrics.accuracy_score(labels, predictions),
        f1=f1,
        matthews=lambda: metrics.matthews_corrcoef(labels, predictions),
        pearson=lambda: _correlation(stats.pearsonr, labels, predictions),
        spearman=lambda: _correlation(stats.spearmanr, labels, predictions),
        mse=lambda: metrics.mean_squared_error(labels, predictions),
    )
    return {name: float(known[name]()) for name in names}


def confusion(labels, predictions, num_classes):
    """Confusion matrix as a list of rows, a row for each true class."""
    from sklearn import metrics

    return metrics.confusion_matrix(labels, predictions, labels=range(num_classes)).tolist()


def majority(labels, predictions, classes):
    """The class that every prediction has, {"class", "accuracy"}; None if they differ.

    A run that ends so has learnt nothing but the most frequent class.
    """
    if len(set(predictions)) > 1 or len(set(labels)) < 2:
        return None
    name = classes[predictions[0]]
    return {"class": name, "accuracy": float(np.mean(labels == predictions[0]))}


def _correlation(correlate, labels, predictions):
    """A correlation; 0 where it is not defined, since one side is constant."""
    labels, predictions = np.asarray(labels, float), np.asarray(predictions, float)
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    value = correlate(labels, predictions).statistic
    return 0.0 if math.isnan(value) else value
