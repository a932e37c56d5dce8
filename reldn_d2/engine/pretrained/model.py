"""`PretrainedModel`: a trained model that is saved in a folder, shared, and loaded again."""

import logging
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

import reldn_d2
from reldn_d2.checkpoint.finite import FiniteWeights, refuse_not_finite
from reldn_d2.checkpoint.formats import write_weights
from reldn_d2.checkpoint.safetensors_files import halved
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.plain_text import visible_lines

from ..evaluate import load_config, parts_of
from ..parts import CONFIG_FILE, Config, RunParts, check_device
from .card import model_card
from .find import find_pretrained
from .folder import CARD_FILE, INFO_FILE, NOTICE_FILE, SUMS_FILE, replace_card, write_folder
from .hub import Patterns, UploadOptions, is_hub_id, make_repository, upload
from .info import ModelInfo
from .neutral_config import neutral_config
from .origin import info_of_run, weights_and_settings

logger = logging.getLogger(__name__)


class PretrainedModel(ABC):
    """Base class of what has a trained RelDN: `from_pretrained`, `save_pretrained`, `push_to_hub`.

    A subclass is made from a config, loads its weights, and sets the attributes.

    Attributes:
        model: the model with its weights.
        parts: the parts of its config.
        thing_classes, predicate_classes: names of its classes.
    """

    model: RelDN
    parts: RunParts
    thing_classes: Sequence[str]
    predicate_classes: Sequence[str]
    _conventions: str | None = None  # see `reldn_d2.checkpoint.formats.CONVENTIONS`
    _info: ModelInfo | None = None
    _measured: Mapping[str, Any] | None = None

    @abstractmethod
    def __init__(self, cfg: Config) -> None:
        """Makes the model.

        Args:
            cfg: config of RelDN, in YAML or Python, with weights.
        """

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of the model's classes."""
        return Vocabulary([*self.thing_classes], [*self.predicate_classes])

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | int | torch.device | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        sha256: str | None = None,
        trust: bool = False,
    ) -> Self:
        """Loads a model by its name. Nothing in its files is run.

        Args:
            name: see `find_pretrained`.
            device: such as "cpu", "cuda:1", or the number of a GPU; None: a GPU if there is one, else the
                CPU, whatever device the model was trained on.
            revision, token, cache_dir, local_files_only, force_download, sha256, trust: see
                `find_pretrained`.

        Raises:
            OSError: there is no such model, or it can't be fetched.
            ValueError: it is incomplete or damaged, its config is refused, its weights do not fit it, or
                this machine lacks the device.
        """
        if isinstance(device, int):
            device = f"cuda:{device}"
        chosen = usual_device() if device is None else str(device)
        # Before a download.
        check_device(chosen, "device", lambda other: f'give device="{other}"')
        found = find_pretrained(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            sha256=sha256,
            trust=trust,
        )
        file = str(found.config_file)
        cfg = load_config(file, beside_weights=[file])
        parts = parts_of(cfg)
        parts.set_key(parts.keys.weights, str(found.weights_file))
        parts.set_key(parts.keys.device, chosen)
        made = cls(cfg)
        if found.info is not None:
            made._keep(found.info)
        return made

    @property
    def info(self) -> ModelInfo:
        """What was known of the model when it was loaded: from its folder, or from its training."""
        return self._keep(info_of_run(self.parts, self.model)) if self._info is None else self._info

    def _keep(self, info: ModelInfo) -> ModelInfo:
        """Keeps what is known of the model, and which weights and settings its numbers are of."""
        self._info = info
        if info.evaluations:
            self._measured = weights_and_settings(self.parts, self.model)
        return info

    def _without_old_numbers(self, info: ModelInfo) -> ModelInfo:
        """Leaves out numbers of the loaded model that are not those of the present one."""
        known = () if self._info is None else self._info.evaluations
        old = [x for x in info.evaluations if x in known]
        if not old or weights_and_settings(self.parts, self.model) == self._measured:
            return info
        logger.warning(
            "The weights or settings of the model have changed since it was loaded, so its %d evaluations of "
            "that time are not saved",
            len(old),
        )
        own = tuple(x for x in info.evaluations if x not in known)
        return replace(info, evaluations=own, measured_before_rounding=False)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        info: ModelInfo | None = None,
        half_precision: bool = False,
        name: str | None = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> str | None:
        """Saves the model as a folder that anybody can load; `pretrained.folder` describes its files.

        Nothing in it names a place on this machine. A folder that was half written is not loaded. `sha256sum
        FOLDER/SHA256SUMS` prints the digest with which others load exactly this model.

        Args:
            folder: a new folder, or that of an earlier model, whose files are replaced. A README.md that
                somebody has written or edited stays.
            info: what the folder says about the model; None: `info`. `dataclasses.replace(model.info,
                license="cc-by-4.0", data_notice="...")` adds what only its author knows. Evaluations of the
                loaded model are left out if its weights or settings have changed since.
            half_precision: whether tensors of two or more axes are stored in float16. The file is half as
                large, and scores change in about the third digit.
            name: what others write to load it, for its card: for example a name of the model zoo; None:
                `repo_id`.
            repo_id: hub id of the model; None: with `push_to_hub` the name of the folder.
            push_to_hub: whether to upload the saved folder, too: its files of a saved model, and no others. A
                card that was edited is uploaded as it is.
            hub: further arguments of `push_to_hub`.

        Returns:
            The URL of the commit, if it was uploaded.

        Raises:
            ValueError: the config or the weights can't be saved, see `neutral_config`; or the folder has
                other files of these names.
            OSError: a file can't be written, or the upload failed.
        """
        if hub and not push_to_hub:
            raise TypeError(f"{', '.join(hub)}: these arguments are of push_to_hub, which is not switched on")
        if push_to_hub and repo_id is None:
            repo_id = Path(folder).resolve().name
        for argument, value in {"name": name, "repo_id": repo_id}.items():
            if value is not None and not is_hub_id(f"me/{value}") and not is_hub_id(value):
                raise ValueError(f"{argument} is {value!r}: write owner/name, or a name without a slash")
        if not os.fspath(folder):  # as a path it would be the working folder
            raise ValueError("the name of the folder is empty: give a folder")
        folder, options = Path(folder), UploadOptions(**hub)
        card = self._save(folder, info, half_precision=half_precision, name=name or repo_id)
        if repo_id is None or not push_to_hub:
            return None
        return _upload(folder, repo_id, options, card if name is None else None)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        info: ModelInfo | None = None,
        half_precision: bool = False,
        commit_message: str = UploadOptions.commit_message,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        delete_patterns: Patterns = None,
    ) -> str:
        """Saves the model in a temporary folder, and uploads it to the hub in one commit.

        Nothing is made on the hub if the model can't be saved.

        Args:
            repo_id: hub id. The repository is made if it is missing.
            info, half_precision: see `save_pretrained`.
            commit_message, private, token, branch, create_pr, allow_patterns, ignore_patterns,
                delete_patterns: as in `huggingface_hub.ModelHubMixin.push_to_hub`.

        Returns:
            The URL of the commit.

        Raises:
            ValueError: see `save_pretrained`.
            OSError: the hub can't be reached, or refuses. The message says what helps.
        """
        options = UploadOptions(
            commit_message,
            private,
            token,
            branch,
            create_pr,
            allow_patterns,
            ignore_patterns,
            delete_patterns,
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "model")
            card = self._save(folder, info, half_precision=half_precision, name=repo_id)
            return _upload(folder, repo_id, options, card)

    def _save(
        self, folder: Path, info: ModelInfo | None, *, half_precision: bool, name: str | None
    ) -> Callable[[str], str]:
        """Saves the model. Returns what makes its card for another name."""
        weights = self.model.state_dict()
        refuse_not_finite(FiniteWeights(self.model).broken(weights), weights, "the model")
        stored = halved(weights) if half_precision else weights
        info = self._without_old_numbers(self.info if info is None else info)
        if info.evaluations and any(
            not torch.equal(stored[key].to(x.dtype), x) for key, x in weights.items()
        ):
            info = replace(info, measured_before_rounding=True)
        vocabulary = self.vocabulary
        card = partial(model_card, info, vocabulary, half_precision=half_precision)
        files = {
            CONFIG_FILE: neutral_config(self.parts.cfg),
            INFO_FILE: info.to_json(
                saved_by=f"reldn-d2 {reldn_d2.__version__}",
                precision="float16" if half_precision else "float32",
            ),
            CARD_FILE: card(name=name).encode(),
        }
        if info.data_notice:
            files[NOTICE_FILE] = f"{visible_lines(info.data_notice.strip())}\n".encode()
        write = partial(write_weights, model=stored, vocabulary=vocabulary, conventions=self._conventions)
        digest = write_folder(folder, files, write)
        logger.info("The model is in %s; the sha256 of its %s is %s", folder, SUMS_FILE, digest)
        return lambda other: card(name=other)


def _upload(folder: Path, name: str, options: UploadOptions, card: Callable[[str], str] | None) -> str:
    """Uploads a saved folder. A name without an owner gets that of the user, also in the card."""
    hub_id = make_repository(name, private=options.private, token=options.token)
    if hub_id != name and card is not None:
        replace_card(folder, card(hub_id).encode())
    return upload(folder, hub_id, options)


def usual_device() -> str:
    """The device for a model if nobody names one: a GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
