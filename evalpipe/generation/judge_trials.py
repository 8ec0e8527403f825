"""Judging the examples of one issue by one instruction after another: verdicts, and what they are worth.

Both engines that look for instructions (judge_search.py, judge_dspy.py) try them here, so that faults, outages and
figures mean the same under either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evalpipe.errors import EvaluatorFaultError
from evalpipe.evaluators.judge import Judge, Verdict
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.llm import LanguageModel
from evalpipe.generation.examples import Examples
from evalpipe.ids import canonical_json
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import JudgeSettings, LlmSettings

_TOLERATED_FAULTS = 2  # of any batch: one in six is no outage
_FAULT_PRICE = 0.2  # of a batch without any verdict, in MCC
_LENGTH_PRICE = 0.005  # of a thousand characters of instruction, in MCC: between equals the short one wins


@dataclass
class Trials:
    """The examples, their labels and notes, and every verdict so far."""

    examples: Examples
    notes: Mapping[str, str]
    model: LanguageModel
    llm: LlmSettings
    judges: JudgeSettings
    n_faults: int = 0
    n_reused: int = 0
    _said: dict[tuple[str, int], Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.transcripts = self.examples.view["transcript"].to_list()
        self.trace_ids = self.examples.trace_ids

    def is_failure(self, row: int) -> bool:
        return bool(self.examples.is_failure[row])

    def note(self, row: int) -> str:
        """What the reviewer said of an example; '' when nothing."""
        return self.notes.get(self.trace_ids[row], "").strip()

    def verdicts(self, program: JudgeProgram, rows: Sequence[int]) -> list[Verdict]:
        """What a judge says of these examples, in order; each is asked about once.

        What gave no verdict is asked once more. Raises EvaluatorFaultError when the model is down, the budget spent,
        or more of the examples than `max_fault_share` remain without a verdict; asked again, the run resumes.
        """
        key = canonical_json(program.to_program())
        new = [row for row in dict.fromkeys(rows) if (key, row) not in self._said]
        judge = Judge(program, self.model, self.llm, gives_up=True)
        said = dict(zip(new, judge.judge_all([self.transcripts[row] for row in new]), strict=True))
        for row, verdict in said.items():
            self._said[key, row] = judge.judge(self.transcripts[row]) if verdict.outcome == "fault" else verdict
        verdicts = [self._said[key, row] for row in rows]
        self.n_faults += sum(self._said[key, row].outcome == "fault" for row in new)
        self._require_verdicts(verdicts)
        return verdicts

    def known(self, program: JudgeProgram, row: int) -> Verdict | None:
        """The verdict on an example, if it was asked for."""
        return self._said.get((canonical_json(program.to_program()), row))

    def mcc(self, program: JudgeProgram, rows: Sequence[int]) -> float:
        """Agreement on the examples with a verdict; -1 where it is not defined, so that it is never chosen for it."""
        truth, flags = self._judged(rows, self.verdicts(program, rows))
        agreement = mcc(confusion(truth, flags))
        return -1.0 if agreement is None else agreement

    def is_perfect(self, program: JudgeProgram, rows: Sequence[int]) -> bool:
        """Whether every one of these examples has the verdict that people gave it."""
        return all(
            verdict.has_failed == self.is_failure(row)
            for row, verdict in zip(rows, self.verdicts(program, rows), strict=True)
        )

    def worth(self, instruction: str, rows: Sequence[int], verdicts: Sequence[Verdict]) -> float:
        """What an instruction is worth by its verdicts on a batch: the MCC of the whole batch, less faults and length.

        Half an example in every cell keeps it defined and moderate on the few examples of a minibatch.
        """
        truth, flags = self._judged(rows, verdicts)
        counts = np.array(confusion(truth, flags)) + 0.5
        tp, fp, tn, fn = counts.tolist()
        agreement = (tp * tn - fp * fn) / float(np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
        return agreement - _FAULT_PRICE * (1 - len(truth) / len(rows)) - _LENGTH_PRICE * len(instruction) / 1_000

    def _judged(self, rows: Sequence[int], verdicts: Sequence[Verdict]) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(self.is_failure(row), v.has_failed) for row, v in zip(rows, verdicts, strict=True)]
        judged = np.array([pair for pair in pairs if pair[1] is not None], dtype=bool).reshape(-1, 2)
        return judged[:, 0], judged[:, 1]

    def _require_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        faults = [verdict.explanation for verdict in verdicts if verdict.outcome == "fault"]
        if len(faults) > max(_TOLERATED_FAULTS, self.judges.max_fault_share * len(verdicts)):
            raise EvaluatorFaultError(
                f"{len(faults)} of {len(verdicts)} traces got no verdict ({faults[0]}). What was answered is kept; "
                "when the model answers again, run: evalpipe generate"
            )
