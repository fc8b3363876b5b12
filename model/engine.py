"""The engine: one model, S slots, one batched step per 80 ms frame. One thread only; no sockets here.

A slot is a row of every state tensor. It is started for a call, stepped while the call's frames arrive, and
stopped; rows that are idle in a step keep what they remember and cost no call anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.codec import Codec
from model.compiled import CompiledRunner, Unpacked
from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ
from model.control import CallProfile
from model.controls import NO_TOKEN
from model.errors import CheckpointError, PromptError, SlotError
from model.generate import Generator
from model.presets import BUILTIN
from model.program import CudaGraphRunner, EagerRunner, Runner, StepProgram
from model.prompt import Prompt, ReadyVoice, prompt_frames, ready_prompt
from model.published import LoadedModel, load_model
from model.steps import FusedSteps
from model.tokenizer import WORD_START, TextTokenizer

__all__ = ["BUILTIN", "FRAME_SAMPLES", "SAMPLE_RATE_HZ", "Engine", "StepOutput"]

SILENCE_FRAMES = 16  # a codec's transformers see silence alone after so long
MAX_KEPT_PROMPT_BYTES = 2 << 30  # 13 prompts of 300 steps of a 7B model


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one step gave, a row per slot."""

    pcm: NDArray[np.float32]  # [S, 1920] agent audio; zeros in idle rows and until a slot's first whole frame
    text: NDArray[np.int32]  # [S] agent text token drawn in this step; NO_TOKEN in idle rows
    caller_text: NDArray[np.int32]  # [S] caller-transcript token; NO_TOKEN in idle rows
    # [S, num_streams] the column that was read: the history that can re-prime a slot. Tokens from 32,768 on
    # (the larger of the published vocabularies has 48,000) are there less 65,536.
    tokens: NDArray[np.int16]


class Engine:
    """Codec and language model on one device, a row of the batch for each call."""

    def __init__(
        self,
        model: LoadedModel,
        num_slots: int,
        *,
        greedy: bool = False,
        kv_dtype: torch.dtype | None = None,
    ) -> None:
        """`greedy` ignores every temperature; `kv_dtype` is what keys and values are kept in, by default the
        weights' dtype (float8_e4m3fn halves what a full window costs in memory and time)."""
        if num_slots < 1:
            raise SlotError(f"an engine needs at least one slot, not {num_slots}")
        self.model, self.num_slots = model, num_slots
        self.config, self.tokenizer = model.config, model.tokenizer
        self._device = model.lm.text_linear.weight.device
        is_on_gpu = self._device.type == "cuda"
        if is_on_gpu:
            # Rounded to 10 bits, the codec's latents fall on other codewords than the published models were
            # trained with.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        model.codec.eval()
        model.lm.eval()
        self._silence = self._silent_frame()
        self._generator = Generator(
            model.lm,
            num_slots,
            model.config.sampling,
            greedy=greedy,
            word_starts=word_starts(model.tokenizer, model.config.lm.text_card),
            silence=self._silence,
            num_sinks=model.sink_frames,
            can_pin=model.prompt is not None,
            kv_dtype=kv_dtype,
            steps=FusedSteps(model.lm, num_slots) if is_on_gpu else None,
        )
        self._program = StepProgram(model.codec, self._generator, model.tokenizer, model.config.sampling)
        self._runner: Runner | None = None
        self._started = np.zeros(num_slots, dtype=bool)
        self._kept_prompts: OrderedDict[tuple[str, str], list[Tensor]] = OrderedDict()  # the latest used last

    @classmethod
    def load(
        cls,
        directory: Path,
        num_slots: int,
        *,
        device: str = "cpu",
        greedy: bool = False,
        kv_dtype: torch.dtype | None = None,
    ) -> Engine:
        """The engine of a model folder, ours or a published one (see `model.published.load_model`).

        Raises CheckpointError or ConfigError naming the file and what is wrong with it.
        """
        return cls(load_model(directory, device=device), num_slots, greedy=greedy, kv_dtype=kv_dtype)

    def _silent_frame(self) -> Tensor:
        """The agent's codes in silence: int64 [agent_q]."""
        agent_q, card, prompt = self.config.lm.agent_q, self.config.lm.card, self.model.prompt
        if prompt is not None and max(*prompt.silence_codes, *prompt.sine_codes) >= card:
            raise CheckpointError(
                f"the model {self.model.name} has {card} codes a codebook, fewer than the prompt that models "
                "of its kind were trained with holds; its model_type is another"
            )
        if prompt is not None:
            return torch.tensor(prompt.silence_codes[:agent_q], device=self._device)
        return silent_frame(self.model.codec)[:agent_q]

    @property
    def program(self) -> StepProgram:
        """What a step computes, and the tensors that it works on."""
        return self._program

    @property
    def is_compiled(self) -> bool:
        """Whether a compiled step was adopted."""
        return isinstance(self._runner, CompiledRunner)

    def adopt_compiled(self, unpacked: Unpacked) -> None:
        """Step with this package from now on; what the slots remember stays. Between two steps only.

        Raises CompileError, and then goes on as before.
        """
        self._runner = CompiledRunner(self._program, unpacked)

    @property
    def voices(self) -> tuple[str, ...]:
        """The voices that a profile may name; none for a model that takes no prompts."""
        return self.model.voices.names if self.model.prompt is not None else ()

    @property
    def takes_role(self) -> bool:
        """Whether a profile may hold a role."""
        return self.model.prompt is not None

    @property
    def num_streams(self) -> int:
        """Tokens per column of a slot's history."""
        return self.config.lm.num_streams

    def _row(self, slot: int) -> Tensor:
        if not 0 <= slot < self.num_slots:
            raise SlotError(f"slot {slot} does not exist; this engine has {self.num_slots}")
        row = torch.zeros(self.num_slots, dtype=torch.bool, device=self._device)
        row[slot] = True
        return row

    @torch.inference_mode()
    def start(
        self,
        slot: int,
        *,
        seed: int,
        profile: CallProfile = CallProfile(),  # noqa: B008 -- frozen
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Ready a free slot: `history` int16 [T, num_streams] is remembered without being spoken again,
        `caller_pcm` float32 [N] (the caller's last seconds) warms the hearing.

        Raises SlotError if the slot is taken, PromptError if the profile or the history is not this model's.
        """
        row = self._row(slot)
        if self._started[slot]:
            raise SlotError(f"slot {slot} is in use; stop it before starting it again")
        if history is not None and len(history):
            self._check_history(_widened(history))
        key = self._prompt_key(profile)
        prompt = None if key is None or key in self._kept_prompts else self._build_prompt(*key)
        self._generator.controls.reset(slot, seed=seed, profile=profile)
        self._program.forget(row)
        if key is not None:
            self._recall_prompt(slot, key, prompt)
        if history is not None and len(history):
            self._generator.replay(slot, _widened(history))
            self._program.relive(slot, _widened(history))
        if caller_pcm is not None and len(caller_pcm) >= FRAME_SAMPLES:
            self._warm(slot, caller_pcm)
        self._started[slot] = True

    def _prompt_key(self, profile: CallProfile) -> tuple[str, str] | None:
        """(voice, role), None for a call without a prompt. Raises PromptError if the model takes none."""
        key = (profile.voice, profile.role.strip())
        if not any(key):
            return None
        if self.model.prompt is None:
            wanted = f"has no voice {profile.voice}" if profile.voice else "takes no role"
            raise PromptError(
                f"the model {self.model.name} {wanted}: it was trained without prompts; leave it out, or use "
                "a model that takes them (`offhook models`)"
            )
        return key

    def _build_prompt(self, voice_name: str, role: str) -> Prompt:
        config = self.model.prompt
        assert config is not None
        lm = self.config.lm
        ready: ReadyVoice | None = None
        codes = torch.zeros(0, lm.agent_q, dtype=torch.int64)
        if voice_name:
            try:
                voice = self.model.voices.load(voice_name)
            except CheckpointError as error:  # a file that was whole when the worker began
                raise PromptError(f"the voice {voice_name} cannot be read: {error}") from error
            if voice.codes is not None:
                codes = voice.codes.T.cpu()
            else:
                assert voice.embeddings is not None
                assert voice.last_column is not None
                assert voice.pending is not None
                ready = ReadyVoice(voice.embeddings, voice.last_column, voice.pending)
                codes = torch.zeros(voice.num_frames, lm.agent_q, dtype=torch.int64)
        tokens = self.tokenizer.encode(config.wrap_role(role)) if role else []
        tone = torch.tensor(config.sine_codes[: lm.caller_q])
        frames = prompt_frames(codes, tokens, self._silence.cpu(), tone, config.pause_frames)
        return ready_prompt(self.model.lm, frames, ready)

    def _recall_prompt(self, slot: int, key: tuple[str, str], prompt: Prompt | None) -> None:
        """Give a fresh slot the prompt: as it was kept, or (and then it is kept) by living through it."""
        if prompt is None:
            self._kept_prompts.move_to_end(key)
            self._generator.restore(slot, self._kept_prompts[key])
            return
        self._generator.prefill(slot, prompt.embedded, prompt.pending)
        self._kept_prompts[key] = self._generator.snapshot(slot)
        while len(self._kept_prompts) > 1 and self._num_kept_bytes() > MAX_KEPT_PROMPT_BYTES:
            self._kept_prompts.popitem(last=False)

    def _num_kept_bytes(self) -> int:
        return sum(tensor.nbytes for kept in self._kept_prompts.values() for tensor in kept)

    def _check_history(self, history: NDArray[np.int64]) -> None:
        lm = self.config.lm
        if history.ndim != 2 or history.shape[1] != lm.num_streams:
            raise PromptError(
                f"history has shape {list(history.shape)}; this model's columns hold {lm.num_streams} tokens"
            )
        limit = self._generator.initial.cpu().numpy()  # the token after a stream's last
        if (history > limit).any() or (history < NO_TOKEN).any():
            raise PromptError("history holds tokens that this model does not have; it is another model's")

    def _warm(self, slot: int, caller_pcm: NDArray[np.float32]) -> None:
        """Let one row's hearing live through the caller's last whole frames."""
        state = self._program.hearing.row(slot)
        whole = len(caller_pcm) // FRAME_SAMPLES * FRAME_SAMPLES
        sound = torch.from_numpy(np.array(caller_pcm[-whole:], dtype=np.float32)).to(self._device)
        codec = self.config.codec
        # In one pass where that sees what single frames would: hundreds of launches instead of thousands.
        fits = whole // codec.hop_samples <= codec.encoder_transformer.context
        for block in torch.split(sound.view(1, 1, -1), whole if fits else FRAME_SAMPLES, dim=-1):
            self.model.codec.encode(block, state)

    def _check_started(self, slot: int) -> None:
        self._row(slot)
        if not self._started[slot]:
            raise SlotError(f"slot {slot} is free; start it before telling it anything")

    @torch.inference_mode()
    def force_text(self, slot: int, token: int) -> None:
        """Make the slot's next step take this text token instead of drawing one.

        Raises SlotError if the slot is free, PromptError if the model has no such token.
        """
        self._check_started(slot)
        self._generator.controls.force_text(slot, token)

    @torch.inference_mode()
    def say(self, slot: int, tokens: Sequence[int]) -> None:
        """Make the slot's agent say a sentence of text tokens in its own voice and time; none stops it.

        Raises SlotError if the slot is free, PromptError for tokens that the model has not, or too many.
        """
        self._check_started(slot)
        self._generator.controls.say(slot, list(tokens))
        if tokens and self.model.tokenizer.announce >= 0:  # trained to be told what to say
            self._generator.controls.force_text(slot, self.model.tokenizer.announce)

    @torch.inference_mode()
    def silence(self, slot: int, frames: int) -> None:
        """Keep the slot's agent silent for the next `frames` steps; 0 lets it speak again.

        Raises SlotError if the slot is free, PromptError for less than none.
        """
        self._check_started(slot)
        self._generator.controls.silence(slot, frames)

    @torch.inference_mode()
    def age(self, frames: int) -> None:
        """Put every slot into use, looking `frames` steps old, so that a step costs what it costs then (for
        benches and calibration); a slot that is in use already forgets nothing.
        """
        if not self._started.any():
            self._program.forget(torch.ones(self.num_slots, dtype=torch.bool, device=self._device))
        self._generator.age(frames)
        self._started[:] = True

    def stop(self, slot: int) -> None:
        """Free a slot; freeing a free one does nothing."""
        self._row(slot)
        self._started[slot] = False

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StepOutput:
        """Move the active slots on by one frame: float32 [S, 1920], bool [S].

        A slot whose model has come to grief gives NaN; the others are not touched by that. Raises SlotError
        if a free slot is active.
        """
        assert pcm.shape == (self.num_slots, FRAME_SAMPLES), pcm.shape
        if (active & ~self._started).any():
            raise SlotError(
                f"slots {np.flatnonzero(active & ~self._started).tolist()} are stepped while free"
            )
        if self._runner is None:
            on_gpu = self._device.type == "cuda"
            self._runner = CudaGraphRunner(self._program) if on_gpu else EagerRunner(self._program)
        sound, numbers = self._runner.run(torch.from_numpy(pcm), torch.from_numpy(active))
        told = numbers.numpy()
        return StepOutput(
            pcm=sound.numpy().copy(),
            text=told[:, 0].copy(),
            caller_text=told[:, 1].copy(),
            tokens=told[:, 2:].astype(np.int16),
        )


def _widened(history: NDArray[np.int16]) -> NDArray[np.int64]:
    """Tokens of a history as they were: 16 bits hold those from 32,768 on as numbers below NO_TOKEN."""
    wide = history.astype(np.int64)
    return np.where(wide < NO_TOKEN, wide + (1 << 16), wide)


def word_starts(tokenizer: TextTokenizer, text_card: int) -> Tensor:
    """Which text tokens open a word: bool [text_card]."""
    return torch.tensor([tokenizer.piece(token).startswith(WORD_START) for token in range(text_card)])


@torch.inference_mode()
def silent_frame(codec: Codec) -> Tensor:
    """The codes of a frame of silence after silence: int64 [encoded_q]."""
    device = next(codec.parameters()).device
    return codec.encode(torch.zeros(1, 1, SILENCE_FRAMES * FRAME_SAMPLES, device=device))[0, :, -1]
