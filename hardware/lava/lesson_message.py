"""A lesson on its way to the worker and back, as plain values and arrays. Its network goes as a file."""

from dataclasses import asdict
from typing import Any

import numpy as np

from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.lava.protocol import Message
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.lesson import Lesson, Plan


def pack(lesson: Lesson) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fields and arrays of a new lesson. The plan's samples are not there: the worker has its own numbers for them."""
    learner, plan = lesson.learner, lesson.plan
    fields: dict[str, Any] = {
        "rule": asdict(learner.rule),
        "num_updates": learner.num_updates,
        "updates": learner.updates,
        "rollback": plan.rollback,
    }
    arrays: dict[str, np.ndarray] = {"labels": plan.labels.astype(np.int32), "kinds": plan.kinds.astype(np.uint8)}
    for name in learner.parameters:
        arrays |= {f"parameters.{name}": learner.parameters[name], f"accumulators.{name}": learner.accumulators[name]}
    return fields, arrays


def unpack(network: IntegerNetwork, message: Message) -> Lesson:
    """The lesson that was packed, with a plan of the samples ``order``, an array beside it."""
    fields, arrays = message
    rule = LearningRule(**fields["rule"] | {"writable": tuple(fields["rule"]["writable"])})
    learner = Learner(network, rule, fields["num_updates"])
    for name in learner.parameters:
        learner.parameters[name][...] = arrays[f"parameters.{name}"]
        learner.accumulators[name][...] = arrays[f"accumulators.{name}"]
    learner.updates = fields["updates"]
    return Lesson(learner, Plan(arrays["order"], arrays["labels"], arrays["kinds"], rule.batch_size, fields["rollback"]))


def conclude(lesson: Lesson, arrays: dict[str, np.ndarray]) -> None:
    """Take over what ``LessonState`` holds at the end."""
    learner = lesson.learner
    learner.restore({name: values for name, values in arrays.items() if name not in ("decisions", "counters")})
    updates, rollbacks, checksum = (int(value) for value in arrays["counters"].view(np.uint32))
    learner.updates = updates
    lesson.conclude(arrays["decisions"], rollbacks, checksum)
