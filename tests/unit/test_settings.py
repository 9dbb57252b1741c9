"""What the environment says, and what is said about it when it is wrong."""

import pytest

from services.api.settings import Settings as Api
from services.dispatcher.settings import Settings as Dispatcher
from services.health.settings import Settings as Health
from services.worker.settings import Settings as Worker
from shared.settings import SharedSettings


def test_commands_by_hand_find_the_servers_of_the_stack_whose_ports_are_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMMANDCENTER_POSTGRES_PORT", "5733")
    monkeypatch.setenv("COMMANDCENTER_KAFKA_PORT", "9492")
    settings = SharedSettings.from_environment()
    assert settings.database_url == "postgresql+psycopg2://commandcenter@127.0.0.1:5733/commandcenter"
    assert settings.kafka_bootstrap_servers == "127.0.0.1:9492"
    monkeypatch.setenv("COMMANDCENTER_DATABASE_URL", "postgresql://someone@elsewhere/else")
    assert SharedSettings.from_environment().database_url == "postgresql+psycopg2://someone@elsewhere/else"


@pytest.mark.parametrize("settings", [Api, Dispatcher, Worker, Health])
def test_wrong_variables_are_named_in_one_line_without_their_values(
    settings: type[SharedSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMMANDCENTER_POSTGRES_PORT", "a-secret")
    monkeypatch.setenv("COMMANDCENTER_LOG_FORMAT", "a-secret")
    with pytest.raises(SystemExit) as ended:
        settings.from_environment()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1
    assert "COMMANDCENTER_POSTGRES_PORT: Input should be a valid integer" in said
    assert "COMMANDCENTER_LOG_FORMAT: Input should be 'logfmt' or 'json'" in said
    assert "COMMANDCENTER_DATABASE_URL" not in said  # nobody set it: it only could not be derived
    assert "a-secret" not in said


def test_a_variable_that_is_not_json_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMMANDCENTER_WORKER_CONCURRENCY", "analysis=2")
    with pytest.raises(SystemExit):
        Worker.from_environment()
    said = capsys.readouterr().err
    assert "must be JSON" in said
    assert "worker_concurrency" in said


@pytest.mark.parametrize("said", ["*", "https://a.example/", "a.example", "https://a.example,*", "[1"])
def test_what_is_no_origin_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    monkeypatch.setenv("COMMANDCENTER_CORS_ORIGINS", said)
    with pytest.raises(SystemExit):
        Api.from_environment()
    assert "COMMANDCENTER_CORS_ORIGINS: " in capsys.readouterr().err
    monkeypatch.setenv("COMMANDCENTER_CORS_ORIGINS", "https://a.example, http://[::1]:3000")
    assert Api.from_environment().cors_origins == ("https://a.example", "http://[::1]:3000")


@pytest.mark.parametrize("said", ["ops@example.com, dev@example.com", '["ops@example.com", "dev@example.com"]'])
def test_several_values_are_read_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("COMMANDCENTER_ALERTS_EMAILS", said)
    assert Health.from_environment().alerts_emails == ("ops@example.com", "dev@example.com")
