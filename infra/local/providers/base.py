"""What the providers of this target share: a change is also what no longer lives as it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pulumi
from pydantic import BaseModel, ConfigDict

from infra.dynamic_provider import DynamicProvider
from infra.local.errors import LocalError
from infra.local.paths import delete_data, recorded, resolve
from infra.local.running import take_down


class Properties(BaseModel):
    """A resource's inputs. What else is in its property map (outputs, the pickled provider) is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    folder: str
    """As `paths.stack_folder` gives it."""

    @property
    def path(self) -> Path:
        return resolve(self.folder)


P = TypeVar("P", bound=Properties)


class LocalProvider(DynamicProvider[P]):
    """A resource of this machine. Subclasses say how to see and how to make what the properties describe."""

    def see(self, props: P, olds: Mapping[str, Any], /) -> bool:
        """Whether everything is as `props` say. `olds` are the outputs of the last run. Changes nothing."""
        raise NotImplementedError

    def make(self, props: P, olds: Mapping[str, Any], /) -> dict[str, Any]:
        """Bring about what `props` say, from whatever there is; returns the computed outputs."""
        raise NotImplementedError

    def unmake(self, path: Path, /) -> None:
        """Stop, and keep the data unless the user asked to delete it."""
        take_down(path)
        delete_data(path)

    def identity(self, props: Mapping[str, Any], /) -> str:
        return str(props["folder"])

    def changed(self, olds: Mapping[str, Any], news: Mapping[str, Any], /) -> bool:
        if pulumi.contains_unknowns(news) or super().changed(olds, news):
            return True
        return not self.see(self.parse(news), olds)

    def apply(self, props: P, olds: Mapping[str, Any], /) -> dict[str, Any]:
        try:
            return {**self.make(props, olds), "path": str(props.path)}
        except OSError as error:
            # A full disk, most of all. Nothing is half-written: files are replaced whole.
            raise LocalError(
                f"{props.folder}: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}. "
                "Make room or mend the permissions, and run up again; slipway doctor looks at both."
            ) from error

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        self.unmake(recorded(str(_props["folder"]), str(_props.get("path", _props["folder"]))))
