"""Images that nobody builds: each gets the digest of what it would be built from."""

from __future__ import annotations

import hashlib
import json

from infra.engine.providers.base import Provider, ProviderRequest, ResourceOutputs

IMAGE = "docker:index/image:Image"


class DockerProvider(Provider):
    def supports(self, type_: str) -> bool:
        return type_ == IMAGE

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        return ResourceOutputs(id=request.name, outputs=self._outputs(request))

    def update(self, request: ProviderRequest) -> dict[str, object]:
        return self._outputs(request)

    def delete(self, request: ProviderRequest) -> None:
        """An image in a registry stays there."""

    def _outputs(self, request: ProviderRequest) -> dict[str, object]:
        built = {"name": request.inputs["imageName"], "build": request.inputs.get("build")}
        digest = hashlib.sha256(json.dumps(built, sort_keys=True, default=str).encode()).hexdigest()
        repository = str(request.inputs["imageName"]).rsplit(":", 1)[0]
        return {**request.inputs, "repoDigest": f"{repository}@sha256:{digest}", "baseImageName": repository}
