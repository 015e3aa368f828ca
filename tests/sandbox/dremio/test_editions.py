"""What only the Enterprise Edition does, and in which words the community edition refuses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.dremio.services import S3, Dremio, free_offset

NO_CLASS = "SYSTEM ERROR: ClassNotFoundException: com.dremio.exec.planner.sql.handlers.Role{}Handler"
ENTERPRISE_STATEMENTS = [
    ('grant select on table gold.v to user "ann"', "GRANT action is only supported in Enterprise Edition."),
    ('revoke select on table gold.v from user "ann"', "REVOKE action is only supported in Enterprise Edition."),
    ('create user "ann"', "CREATE USER action is only supported in Enterprise Edition."),
    ('create role "analysts"', NO_CLASS.format("Create")),
    ('drop role "analysts"', NO_CLASS.format("Drop")),
    ('grant role "analysts" to user "ann"', NO_CLASS.format("Grant")),
    ("alter table gold.v refresh reflections", "REFRESH REFLECTIONS command is not supported."),
    ("alter table gold.v route reflections to queue q", "This command is not supported in this edition of Dremio."),
    ("create branch b in lake", "CREATE BRANCH action is not supported."),
    ("select * from sys.privileges", "Unable to retrieve sys.privileges."),
    ("select * from sys.roles", "Unable to retrieve sys.roles."),
    ("select * from sys.membership", "Unable to retrieve sys.membership."),
]


@pytest.fixture(scope="module")
def enterprise(s3: S3, tmp_path_factory) -> Iterator[Dremio]:
    server = Dremio(tmp_path_factory.mktemp("enterprise"), free_offset(), edition="enterprise")
    server.start()
    server.http.post("/api/v3/catalog", json=s3.source()).raise_for_status()
    server.http.post("/api/v3/catalog", json={"entityType": "space", "name": "gold"}).raise_for_status()
    server.rows("create table lake.datalake.access.t as select 1 as a")
    server.rows("create view gold.v as select * from lake.datalake.access.t")
    server.rows('create user "ann"')
    server.rows('create role "analysts"')
    yield server
    server.stop()


@pytest.mark.parametrize(("sql", "words"), ENTERPRISE_STATEMENTS)
def test_community_refuses(dremio, sql, words):
    assert dremio.error(sql) == words


def test_community_has_no_grants_api(dremio):
    space = dremio.entity("gold")["id"]
    for answer in (
        dremio.http.get(f"/api/v3/catalog/{space}/grants"),
        dremio.http.put(f"/api/v3/catalog/{space}/grants", json={"grants": []}),
        dremio.http.get("/api/v3/role/by-name/PUBLIC"),
    ):
        assert answer.status_code == 404
        assert set(answer.json()) == {"errorMessage", "moreInfo"}


def privileges(server: Dremio, name: str) -> list[tuple[str, ...]]:
    rows = server.rows(
        f"select grantee_type, grantee_id, privilege, object_type from sys.privileges where object_id = '{name}' "
        "order by 1, 2, 3"
    )
    return [tuple(row.values()) for row in rows]


def test_privileges_are_granted_and_revoked(enterprise):
    enterprise.rows('grant select, alter on view gold.v to user "ann"')
    enterprise.rows('grant select on view gold.v to role "analysts"')
    enterprise.rows('grant select on view gold.v to role "analysts"')
    assert privileges(enterprise, "gold.v") == [
        ("role", "analysts", "SELECT", "VDS"),
        ("user", "ann", "ALTER", "VDS"),
        ("user", "ann", "SELECT", "VDS"),
    ]
    enterprise.rows("create or replace view gold.v as select a from lake.datalake.access.t")
    enterprise.rows('revoke select, alter on view gold.v from user "ann"')
    assert privileges(enterprise, "gold.v") == [("role", "analysts", "SELECT", "VDS")]


def test_privileges_on_all_datasets_below_and_gone_with_their_object(enterprise):
    enterprise.rows("create view gold.short as select 1 as a")
    enterprise.rows('grant select on all datasets in space gold to user "ann"')
    assert privileges(enterprise, "gold.short") == [("user", "ann", "SELECT", "VDS")]
    enterprise.rows("drop view gold.short")
    assert privileges(enterprise, "gold.short") == []
    enterprise.rows('grant all on table lake.datalake.access.t to role "analysts"')
    assert "INSERT" in {row[2] for row in privileges(enterprise, "lake.datalake.access.t")}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ('grant select on view gold.v to user "nobody"', "User nobody does not exist."),
        ('grant select on view gold.v to role "nobody"', "Role nobody does not exist."),
        ('grant fake_privilege on view gold.v to user "ann"', 'Encountered "fake_privilege"'),
        ('grant insert on view gold.v to user "ann"', "Privilege [INSERT] cannot be granted on [gold.v]."),
        ('grant select on view gold.nowhere to user "ann"', "Object 'nowhere' not found within 'gold'"),
        ('create role "analysts"', "Role [analysts] already exists."),
    ],
)
def test_what_cannot_be_granted(enterprise, sql, words):
    assert words in enterprise.error(sql)


def test_roles_have_members_and_leave_nothing_behind(enterprise):
    enterprise.rows('create role "leavers"')
    enterprise.rows('grant role "leavers" to user "ann"')
    member = {"role_name": "leavers", "member_name": "ann", "member_type": "user"}
    assert member in enterprise.rows("select * from sys.membership")
    enterprise.rows('grant select on view gold.v to role "leavers"')
    enterprise.rows('drop role "leavers"')
    assert member not in enterprise.rows("select * from sys.membership")
    assert ("role", "leavers", "SELECT", "VDS") not in privileges(enterprise, "gold.v")


def test_the_grants_api(enterprise):
    view = enterprise.entity("gold", "v")["id"]
    address = f"/api/v3/catalog/{view}/grants"
    ann = enterprise.http.get("/api/v3/user/by-name/ann").json()["id"]
    role = enterprise.http.get("/api/v3/role/by-name/analysts").json()["id"]
    grants = [
        {"privileges": ["SELECT", "ALTER"], "granteeType": "USER", "id": ann},
        {"privileges": ["SELECT"], "granteeType": "ROLE", "id": role},
    ]
    assert enterprise.http.put(address, json={"grants": grants}).status_code == 204
    body = enterprise.http.get(address).json()
    assert [(grant["name"], grant["privileges"]) for grant in body["grants"]] == [
        ("ann", ["SELECT", "ALTER"]), ("analysts", ["SELECT"])
    ]  # fmt: skip
    assert {"SELECT", "ALTER", "MANAGE_GRANTS"} <= set(body["availablePrivileges"])
    unknown = [{"privileges": ["SELECT"], "granteeType": "USER", "id": "nobody"}]
    wrong = [{"privileges": ["INSERT"], "granteeType": "USER", "id": ann}]
    for refused in (unknown, wrong):
        assert enterprise.http.put(address, json={"grants": refused}).status_code == 400
    assert enterprise.http.get(address).json() == body
    assert enterprise.http.put(address, json={"grants": []}).status_code == 204
    assert enterprise.http.get(address).json()["grants"] == []
    assert enterprise.http.get("/api/v3/role/by-name/nobody").status_code == 404


def test_enterprise_keeps_it_over_a_restart(enterprise):
    enterprise.rows('grant select on view gold.v to user "ann"')
    before = privileges(enterprise, "gold.v")
    enterprise.stop()
    enterprise.start()
    assert privileges(enterprise, "gold.v") == before != []
