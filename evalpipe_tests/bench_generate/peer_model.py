"""The scripted model for the prompts of other products: it knows the same, and learns from the same notes.

Their prompts are told apart by what they ask for. Evidently hands the reviewer's notes to its reflection; MLflow's
GEPA alignment hands over scores alone, from which this model, unlike a real one, learns nothing.
"""

import json
import re

from evalpipe_tests.scripted_model import Messages, Reply, ScriptedModel, Troubles

_FENCE = re.compile(r"</?trace-[0-9a-f]{16}>")
_NOTE = re.compile(r"<human_reasoning>(.*?)</human_reasoning>", re.DOTALL)
_FEEDBACK = re.compile(r'"Feedback": "(.*?)"[,}]')
_PROMPT = re.compile(r"<prompt>\n?(.*?)\n?</prompt>", re.DOTALL)


class PeerModel(ScriptedModel):
    """Answers Evidently and MLflow in their formats, evalpipe in its own."""

    def reply(self, messages: Messages, troubles: Troubles) -> Reply:
        prompt = "\n".join(message["content"] for message in messages)
        if "<new_prompt>" in prompt:
            own, notes = _PROMPT.search(prompt), "\n".join(_NOTE.findall(prompt))
            return Reply("reflection", f"<new_prompt>{self._improved(own[1] if own else '', notes)}</new_prompt>")
        if "`current_instruction`" in prompt:
            own = messages[-1]["content"].partition("[[ ## current_instruction ## ]]\n")[2].partition("\n\n[[ ## ")[0]
            notes = "\n".join(_FEEDBACK.findall(messages[-1]["content"]))
            return Reply("reflection", json.dumps({"new_instruction": self._improved(own, notes)}))
        if "___text_starts_here___" in prompt:
            failed, why = self._verdict(prompt, troubles)
            return Reply("judge", json.dumps({"category": "FAIL" if failed else "PASS", "reasoning": why}))
        if "- result (" in prompt:
            failed, why = self._verdict(prompt, troubles)
            return Reply("judge", json.dumps({"result": failed, "rationale": why}))
        return super().reply(messages, troubles)

    def _improved(self, own: str, notes: str) -> str:
        """The prompt with one criterion more, if a note teaches one that it does not name."""
        for known in self.script.criteria:
            is_named = re.search(known.asked, own, re.IGNORECASE)
            if not is_named and re.search(known.taught, notes, re.IGNORECASE):
                return f"{known.sentence} {own}"
        return own

    def _verdict(self, prompt: str, troubles: Troubles) -> tuple[bool, str]:
        # A trace inside JSON, once or twice quoted, has its line breaks written out.
        lines = prompt.replace("\\\\n", "\n").replace("\\n", "\n")
        said = self._judge(_FENCE.sub(r"\n\g<0>\n", lines), troubles)
        return said["failed"] == "True", said["critique"]
