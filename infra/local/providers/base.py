"""What the providers share: typed properties, unknown values, and `diff` by looking at what lives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult
from pulumi.output import Unknown
from pulumi.runtime.rpc import UNKNOWN
from pydantic import BaseModel, ConfigDict

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


class LocalProvider(ResourceProvider, Generic[P]):
    """A resource of this machine. Subclasses say how to see and how to make what the properties describe."""

    properties: ClassVar[type[Properties]]

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

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        if has_unknown(_news):
            return DiffResult(changes=True)
        return DiffResult(changes=self._changed_inputs(_olds, _news) or not self.see(self._parse(_news), _olds))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(str(props["folder"]), self._made(props, {}))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self._made(_news, _olds))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_, props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        self.unmake(recorded(str(_props["folder"]), str(_props.get("path", _props["folder"]))))

    def _made(self, news: dict[str, Any], olds: Mapping[str, Any]) -> dict[str, Any]:
        props = self._parse(news)
        try:
            return {**_inputs(news), **self.make(props, olds), "path": str(props.path)}
        except OSError as error:
            # A full disk, most of all. Nothing is half-written: files are replaced whole.
            raise LocalError(
                f"{props.folder}: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}. "
                "Make room or mend the permissions, and run up again; slipway doctor looks at both."
            ) from error

    def _parse(self, news: Mapping[str, Any]) -> P:
        return self.properties.model_validate(_inputs(news))  # type: ignore[return-value]

    @staticmethod
    def _changed_inputs(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
        return any(olds.get(key) != value for key, value in _inputs(news).items())


def _inputs(props: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in props.items() if not key.startswith("__")}


def has_unknown(value: Any) -> bool:
    """Whether a preview does not know all of it yet."""
    match value:
        case Mapping():
            return any(has_unknown(item) for item in value.values())
        case list() | tuple():
            return any(has_unknown(item) for item in value)
    return isinstance(value, Unknown) or value == UNKNOWN
