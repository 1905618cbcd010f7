"""Images that nobody builds: each gets the digest of what it would be built from."""

from __future__ import annotations

import hashlib
import json

from infra.engine.providers.base import Provider, ProviderRequest, ResourceOutputs

IMAGE = "docker:index/image:Image"


class DockerProvider(Provider):
    def supports(self, type_: str) -> bool:
        return type_ == IMAGE

    def create(self, call: ProviderRequest) -> ResourceOutputs:
        return ResourceOutputs(id=call.name, outputs=self._outputs(call))

    def update(self, call: ProviderRequest) -> dict[str, object]:
        return self._outputs(call)

    def delete(self, call: ProviderRequest) -> None:
        """An image in a registry stays there."""

    def _outputs(self, call: ProviderRequest) -> dict[str, object]:
        built = {"name": call.inputs["imageName"], "build": call.inputs.get("build")}
        digest = hashlib.sha256(json.dumps(built, sort_keys=True, default=str).encode()).hexdigest()
        repository = str(call.inputs["imageName"]).rsplit(":", 1)[0]
        return {**call.inputs, "repoDigest": f"{repository}@sha256:{digest}", "baseImageName": repository}
