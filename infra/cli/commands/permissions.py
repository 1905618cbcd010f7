"""`slipway permissions`: the IAM policies that a stack on AWS needs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from infra.cli.context import Context
from infra.cli.exits import OK, CommandError
from infra.cli.subcommands import Subcommands
from infra.cli.validation import load_settings

FOLDER = Path("docs/aws/policies")


def register(commands: Subcommands) -> None:
    parser = commands.add(
        "permissions",
        run,
        help="write the IAM policies that deploying and previewing a stack on AWS needs",
        description="Write the least that an IAM role must be allowed to deploy the stack, and to preview it, taken "
        "from the resources of its plan. Needs no credentials. What is not given stands as a placeholder in capitals.",
    )
    parser.add_argument("--account", default="", metavar="NUMBER", help="the AWS account (else: the stack's `account`)")
    parser.add_argument(
        "--state-bucket", default="STATE-BUCKET", metavar="NAME", help="the S3 bucket of Pulumi's state"
    )
    parser.add_argument(
        "--state-key", default="STATE-KEY-ID", metavar="ID", help="the KMS key that encrypts the stack's secrets"
    )
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help=f"the folder (else: {FOLDER})")


def run(context: Context, args: argparse.Namespace) -> int:
    folder = args.out or context.project.root / FOLDER
    found = documents(context, account=args.account, state_bucket=args.state_bucket, state_key=args.state_key)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")
    for old in sorted(set(folder.glob("*.json")) - {folder / name for name in found}):
        old.unlink()  # a policy that nothing needs any more must not be attached again
    context.console.note(f"wrote {', '.join(sorted(found))} to {folder}")
    return OK


def documents(context: Context, *, account: str, state_bucket: str, state_key: str) -> dict[str, str]:
    """The policies by file name."""
    from infra.aws.control.permissions import PERMISSIONS
    from infra.aws.naming import partition
    from infra.iam.policies import Place, policies
    from infra.iam.wildcards import plan_with_patterns

    settings = load_settings(context.file)
    if settings.target != "aws" or settings.region is None:
        raise CommandError(f"stack {context.stack!r} runs on {settings.target}; IAM policies are for stacks on aws")
    place = Place(
        partition=partition(settings.region),
        region=settings.region,
        account=account or settings.account or "ACCOUNT",
        project=settings.project,
        stack=settings.stack,
        state_bucket=state_bucket,
        state_key=state_key,
    )
    graph = plan_with_patterns(project=context.project, stack=context.stack, config=context.file.program_config(None))
    found = policies(graph, place, PERMISSIONS)
    return {f"{name}.json": json.dumps(document, indent=2) + "\n" for name, document in found.items()}
