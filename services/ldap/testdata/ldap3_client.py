"""What Python's ldap3 asks of the server: python3 ldap3_client.py HOST:PORT HOST:TLSPORT"""

import ssl
import sys

import ldap3
from ldap3.extend.microsoft.dirSync import DirSync

plain, secure = sys.argv[1], sys.argv[2]
people = "OU=People,DC=example,DC=test"


def check(what, got, want=True):
    if got != want:
        sys.exit("%s: %r, want %r" % (what, got, want))


# The schema and the rootDSE are read when the connection begins.
server = ldap3.Server("ldap://" + plain, get_info=ldap3.ALL)
c = ldap3.Connection(server, "ann@example.test", "secret", auto_bind=True)
check("naming contexts", "DC=example,DC=test" in server.info.naming_contexts)
check("schema", "person" in server.schema.object_classes and "mail" in server.schema.attribute_types)
check("vendor", server.info.vendor_name, ["Waypost"])
check("who am I", c.extend.standard.who_am_i(), "u:EXAMPLE\\ann")

check("search", c.search(people, "(mail=ann@example.test)", attributes=["cn", "mail"]))
check("entry", c.entries[0].mail.value, "ann@example.test")
check("all attributes", c.search(people, "(cn=ann)", attributes=ldap3.ALL_ATTRIBUTES))
check("no such base", c.search("OU=None,DC=example,DC=test", "(cn=*)"), False)
check("code", c.result["result"], 32)
got = list(c.extend.standard.paged_search(people, "(cn=p*)", attributes=["cn"], paged_size=100, generator=True))
check("paged", len([e for e in got if e["type"] == "searchResEntry"]), 1300)

# A password in a bind: right, wrong, none.
check("wrong password", ldap3.Connection(server, "ann@example.test", "wrong").bind(), False)

name = "CN=Three," + people
check("add", c.add(name, ["person", "user"], {"sn": "Three", "cn": "Three"}))
check("add again", c.add(name, ["person"], {"sn": "Three", "cn": "Three"}), False)
check("code", c.result["description"], "entryAlreadyExists")
check("modify", c.modify(name, {"mail": [(ldap3.MODIFY_ADD, ["three@example.test"])], "sn": [(ldap3.MODIFY_REPLACE, ["Drei"])]}))
check("compare", c.compare(name, "sn", "drei"))
check("modify dn", c.modify_dn(name, "CN=Four"))
name = "CN=Four," + people
check("password", c.extend.standard.modify_password(name.replace("Four", "x").replace("CN=x", "CN=bob"), new_password="by-ldap3"), True)
check("assertion", c.modify(name, {"sn": [(ldap3.MODIFY_REPLACE, ["x"])]}, controls=[("1.3.6.1.1.12", True, b"\xa3\x0a\x04\x02sn\x04\x04Vier")]), False)
check("code", c.result["result"], 122)
check("delete", c.delete(name))

# DirSync.
sync = DirSync(c, "DC=example,DC=test", "(objectClass=person)", ["cn"], None, True, False, False, False, 1 << 20, False)
n = len(sync.loop())
while sync.more_results:
    n += len(sync.loop())
check("DirSync", n >= 1302)
check("DirSync again", len(sync.loop()), 0)

# TLS in both ways, and SASL PLAIN.
tls = ldap3.Tls(validate=ssl.CERT_NONE)
host, port = secure.rsplit(":", 1)
c = ldap3.Connection(ldap3.Server(host, port=int(port), use_ssl=True, tls=tls), "ann", "secret", auto_bind=True)
check("LDAPS", c.search(people, "(cn=ann)"))
host, port = plain.rsplit(":", 1)
c = ldap3.Connection(ldap3.Server(host, port=int(port), tls=tls), "ann", "secret")
check("StartTLS", c.start_tls() and c.bind() and c.search(people, "(cn=ann)"))
c = ldap3.Connection(ldap3.Server(host, port=int(port)), authentication=ldap3.SASL, sasl_mechanism=ldap3.PLAIN, sasl_credentials=(None, "ann", "secret"))
check("PLAIN", c.bind() and c.search(people, "(cn=ann)"))
check("Active Directory's password change", ldap3.Connection(ldap3.Server(host, port=int(port), tls=tls), "ann", "secret", auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND).extend.microsoft.modify_password("CN=bob," + people, "new-by-ad"), True)
print("ok")
