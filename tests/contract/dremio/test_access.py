"""Users, roles and grants: what the Enterprise Edition does and the community edition refuses."""

from __future__ import annotations


def test_grants(target):
    target.rows(f'create or replace view "{target.space}".granted as select 1 as a')
    statement = f'grant select on view "{target.space}".granted to role "PUBLIC"'
    if not target.can.enterprise:
        assert target.error(statement) == "GRANT action is only supported in Enterprise Edition."
        return
    target.rows(statement)
    held = f"select privilege, grantee_id from sys.privileges where object_id = '{target.space}.granted'"
    assert {"privilege": "SELECT", "grantee_id": "PUBLIC"} in target.rows(held)
    target.rows(f'revoke select on view "{target.space}".granted from role "PUBLIC"')
    assert {"privilege": "SELECT", "grantee_id": "PUBLIC"} not in target.rows(held)


def test_the_grants_api(target):
    answer = target.http.get(f"/api/v3/catalog/{target.entity(target.space)['id']}/grants")
    if target.can.enterprise:
        assert {"availablePrivileges", "grants"} <= set(answer.json())
    else:
        assert answer.status_code == 404


def test_system_tables_of_access(target):
    for name in ("privileges", "roles", "membership"):
        if target.can.enterprise:
            assert target.job(f"select * from sys.{name}")["jobState"] == "COMPLETED"
        else:
            assert target.error(f"select * from sys.{name}") == f"Unable to retrieve sys.{name}."
