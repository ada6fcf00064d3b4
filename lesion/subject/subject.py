"""What is measured: a network, its images, and the adapter between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lesion.boundary.public import public
from lesion.errors import SubjectError
from lesion.subject.adapter import Adapter, BatchAdapter, without_labels
from lesion.subject.batch import describe, logits, moved, output, tensors_in
from lesion.subject.checks import check_choice, check_given, check_network
from lesion.subject.ground_truth import check_labels, class_numbers
from lesion.subject.images import Images
from lesion.subject.network import try_out
from lesion.subject.outcomes import SCORES
from lesion.subject.scores import Classification, Given, Score, Tally
from lesion.subject.weights import check_weights

EXAMPLE_IMAGES = 2


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its labelled images, found to fit one another.

    name: what it is, for people; preprocessing: how images become inputs, for the fingerprint
    tally: which scores are kept of an image; score: the one that is judged, and whose it is
    classes: how many there are, two where an image has one logit, 0 where a user's own score takes
        the outputs as they are
    example: the batch of the first two images (one, if there is but one)
    train: images that lesioned networks may recover with before they are scored, None without
    several: which of several outputs is scored, and how to choose another, "" for a single one
    class_map: which outputs the classes of the data are, for the fingerprint, "" where in order
    """

    network: nn.Module
    images: Images
    adapter: Adapter
    name: str
    preprocessing: str
    tally: Tally
    score: str
    classes: int
    example: Any
    train: Images | None = None
    several: str = ""
    class_map: str = ""

    @classmethod
    @public
    def of(
        cls,
        network: nn.Module,
        data: Any,
        *,
        adapter: Adapter | None = None,
        name: str | None = None,
        preprocessing: str = "",
        score: str | Score = "top1",
        workers: int | None = None,
        train: Any = None,
    ) -> "Subject":
        """The subject of a network and a Dataset or DataLoader.

        score: "top1", "top5", "agreement" or "tv" (the last two need no labels), or a function
            `score(outputs, targets)` that gives one value from 0 to 1 an image, larger being
            better; targets are what the adapter finds, None where batches have none
        train: a Dataset or DataLoader of training images, see `lesion.engine.recovery`
        The network runs once on the first images, in evaluation mode; nothing of it changes.
        Raises SubjectError where weights or outputs are not finite, the data cannot be read by
        index, labels are missing or out of range, or the network cannot take the data.
        """
        if not isinstance(network, nn.Module):
            raise SubjectError(
                f"Expected a torch.nn.Module, got {type(network).__name__}; give the network "
                "itself, not its name or its state_dict."
            )
        check_network(network)
        check_weights(network)
        images, adapter = Images.of(data, workers), adapter or BatchAdapter()
        example = images.batch(range(min(EXAMPLE_IMAGES, len(images))))
        tally, adapter = _tally(score, adapter, network, example)
        outputs = try_out(network, adapter, example)
        classes = 0 if isinstance(tally, Given) else logits(outputs).shape[1]
        if score in ("agreement", "tv"):
            classes = max(2, classes)
        name = type(network).__name__ if name is None else name
        made = cls(
            network=network,
            images=images,
            adapter=adapter,
            name=name,
            preprocessing=preprocessing,
            tally=tally,
            score=named(score),
            classes=classes,
            example=example,
            train=None if train is None else Images.of(train, workers),
            several=which(outputs, bool(classes)),
        )
        made.check(outputs)
        check_choice(score, classes)
        return made

    def check(self, outputs: Any) -> None:
        """Raises SubjectError unless the outputs for the example can be scored."""
        scored, targets = self._scored(outputs), self.targets(self.example)
        labels = targets if isinstance(self.tally, Classification) else None
        images = min(EXAMPLE_IMAGES, len(self.images)) if labels is None else len(labels)
        if self.classes and len(scored) != images:
            raise SubjectError(
                f"Expected one row of logits an image, got {len(scored)} rows for {images} "
                "images; give an adapter whose forward returns logits (images, classes)."
            )
        if not bool(scored.isfinite().all()):
            raise SubjectError(
                "Expected finite outputs, got NaN or infinity for the first images; "
                "check the weights and the preprocessing."
            )
        targets = moved(targets, scored.device)
        self.tally.answers(scored, targets, None)
        if isinstance(self.tally, Given):
            check_given(self.tally, scored, targets)

    def outputs(self, network: nn.Module, batch: Any) -> Tensor:
        """What `network`, this one or one made from it, gives a batch: logits (N, classes), or
        for a user's own score the tensor (N, …) among the outputs."""
        return self._scored(self.adapter.forward(network, batch))

    def _scored(self, outputs: Any) -> Tensor:
        return logits(outputs) if self.classes else output(outputs)

    def targets(self, batch: Any) -> Any:
        """The labels of a batch, int64 (N,), None without labels; for a user's own score whatever
        the adapter finds. Raises SubjectError unless labels are outputs."""
        if isinstance(self.tally, Given):
            return self.adapter.targets(batch)
        if not self.tally.labelled:  # type: ignore[attr-defined]
            return None
        labels = class_numbers(self.adapter.targets(batch))
        check_labels(labels, self.classes)
        return labels


def which(outputs: Any, of_logits: bool) -> str:
    """Which of several outputs is scored, in words; "" for a single one."""
    tensors = tensors_in(outputs)
    scored = logits(outputs) if of_logits else output(outputs)
    if len(tensors) < 2:
        return ""
    name = next(name for name, value in tensors.items() if value is scored)
    others = ", ".join(str(choice) for choice in tensors if choice != name)
    return (
        f"of {len(tensors)} outputs {name} is scored, {describe(scored)}; to score another "
        f"({others}), choose it by --output, in Python by adapter=lesion.Output(…)"
    )


def named(score: str | Callable[..., Any]) -> str:
    """A score's name, of a function where it is from; of a file the folder does not count."""
    if isinstance(score, str):
        return score
    where = str(getattr(score, "__module__", "?")).partition("@")[0]
    return f"{where}:{getattr(score, '__qualname__', type(score).__name__)}"


def judged(score: str) -> str:
    """The column that a score of that name is kept in."""
    return score if score in SCORES else "score"


def _tally(
    score: str | Score, adapter: Adapter, network: nn.Module, example: Any
) -> tuple[Tally, Adapter]:
    """What to keep of an image, and the adapter for it, see `without_labels`."""
    if not isinstance(score, str):
        return _given(score, adapter, network, example)
    if score not in ("top1", "top5", "agreement", "tv"):
        raise SubjectError(
            f"Expected a score top1, top5, agreement or tv, or a function, got '{score}'."
        )
    try:
        class_numbers(adapter.targets(example))
    except SubjectError:
        if score in ("top1", "top5"):
            raise
        plain = without_labels(adapter, network, example)
        return Classification(labelled=False, variation=score == "tv"), plain
    return Classification(variation=score == "tv"), adapter


def _given(
    score: Score, adapter: Adapter, network: nn.Module, example: Any
) -> tuple[Tally, Adapter]:
    """The same for a function: where batches have no targets, it is given None."""
    if not callable(score):
        raise SubjectError(
            f"Expected a function score(outputs, targets), got {type(score).__name__}; give one "
            "that returns a value from 0 to 1 for each image."
        )
    try:
        adapter.targets(example)
    except SubjectError:
        return Given(score), without_labels(adapter, network, example)
    return Given(score), adapter
