from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine.errors import ProjectError, SecretsError, UnknownStackError
from infra.engine.project.project import Project, StackFile, load_project
from infra.engine.state.crypto import PassphraseSecretsManager


def stack_file(project: Project, text: str, stack: str = "test") -> StackFile:
    project.stack_file(stack).write_text(text)
    return StackFile.load(project, stack)


def test_the_project_is_found_from_below(project: Project) -> None:
    found = load_project(project.root / "stacks")
    assert found == project
    assert (found.name, found.main) == ("demo", project.root / "stacks")


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no Pulumi\.yaml"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", r"Pulumi\.yaml:\d+:\d+: not valid YAML"),
        ("main: x", "`name` is missing"),
        ("[]", "must be a map"),
        ("name: a\nname: b", "not valid YAML"),
        ("name: a\nconfig: 7", "`config` must be a map"),
    ],
)
def test_a_broken_project_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    with pytest.raises(ProjectError, match=told):
        load_project(tmp_path)


def test_an_unknown_stack_lists_those_there_are(project: Project) -> None:
    stack_file(project, "", "staging")
    with pytest.raises(UnknownStackError, match=r"dev, staging\. Did you mean 'staging'\?"):
        StackFile.load(project, "stagign")
    assert project.stacks() == ("dev", "staging")


@pytest.mark.parametrize("name", ["", "../dev", "a b", "x" * 101])
def test_an_impossible_stack_name_is_told(project: Project, name: str) -> None:
    with pytest.raises(ProjectError, match="cannot be a stack name"):
        StackFile.load(project, name)


def test_the_config_is_what_the_cli_gives_the_program(project: Project, secrets: PassphraseSecretsManager) -> None:
    config = StackFile.load(project, "dev").program_config(secrets)
    assert config.values == {
        "demo:token": "swordfish",
        "demo:limits": '{"count":3}',
        "demo:greeting": "hello <you> & all",
    }
    assert config.secret_keys == {"demo:token"}


def test_without_secrets_secure_values_are_blinded_and_still_secret(project: Project) -> None:
    config = StackFile.load(project, "dev").program_config(None)
    assert config.values["demo:token"] == "[secret]"
    assert config.secret_keys == {"demo:token"}


def test_values_become_text_as_the_cli_writes_them(project: Project, secrets: PassphraseSecretsManager) -> None:
    file = stack_file(
        project,
        f"""
config:
  demo:text: two words
  demo:yes: yes
  demo:true: true
  demo:whole: 3
  demo:half: 2.5
  demo:null:
  demo:list: [1, a, null]
  demo:map: {{b: "<&>", a: {{secure: "{secrets.encrypt("inner")}"}}}}
  aws:region: eu-central-1
  demo:config:old: form
""",
    )
    config = file.program_config(secrets)
    assert config.values == {
        "demo:text": "two words",
        "demo:yes": "yes",
        "demo:true": "true",
        "demo:whole": "3",
        "demo:half": "2.5",
        "demo:null": "null",
        "demo:list": '[1,"a",null]',
        "demo:map": '{"a":"inner","b":"\\u003c\\u0026\\u003e"}',
        "aws:region": "eu-central-1",
        "demo:old": "form",
        "demo:greeting": "hello <you> & all",
    }
    assert config.secret_keys == {"demo:map"}
    assert file.program_config(None).values["demo:map"].startswith('{"a":"[secret]"')


def test_the_projects_defaults_hold_where_the_stack_is_silent(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text(
        """
name: demo
config:
  size: {type: object, default: {cpu: 1}}
  count: {type: integer, default: 2}
  needed: {type: string, description: no default}
  plain: just this
  aws:region: {value: eu-west-1}
"""
    )
    file = stack_file(load_project(tmp_path), "config:\n  demo:count: 5\n")
    assert file.program_config(None).values == {
        "demo:count": "5",
        "demo:size": '{"cpu":1}',
        "demo:plain": "just this",
        "aws:region": "eu-west-1",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config:\n  replicas: 2\n", "as in 'demo:replicas'"),
        ("config: 3\n", "`config` must be a map"),
        ("environment: [prod]\n", "only the Pulumi CLI"),
        ("config:\n\tx: 1\n", "not valid YAML"),
    ],
)
def test_a_broken_stack_file_is_told(project: Project, text: str, told: str) -> None:
    with pytest.raises(ProjectError, match=told):
        stack_file(project, text).program_config(None)


def test_a_damaged_secret_names_its_key(project: Project, secrets: PassphraseSecretsManager) -> None:
    file = stack_file(project, "config:\n  demo:keys:\n    - {a: {secure: v1:AAAA:AAAA}}\n")
    with pytest.raises(SecretsError, match=r"Pulumi\.test\.yaml: demo:keys\[0\]\.a: "):
        file.program_config(secrets)


def test_an_edit_keeps_comments_order_and_quotes(project: Project) -> None:
    text = (
        "# first\n"
        "config:\n"
        "  # how many\n"
        "  demo:api:\n"
        "    replicas: 2 # two\n"
        '    name: "x"\n'
        "  demo:list:\n"
        "    - a\n"
        "    - b\n"
        "encryptionsalt: v1:AAAA:v1:BBBB:" + "C" * 200 + "\n"
    )
    file = stack_file(project, text)
    file.data["config"]["demo:api"]["replicas"] = 3
    file.path.chmod(0o640)
    file.save()
    assert file.path.read_text() == text.replace("replicas: 2", "replicas: 3")
    assert file.path.stat().st_mode & 0o777 == 0o640
