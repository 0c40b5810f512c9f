"""Import customers, look, send, wait, count. Needs HUB_URL and HUB_API_KEY; `hub demo` prints a pair to try."""

import sys

from hub.client import Client

many = range(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
people = [{"external_id": f"x{n}", "name": f"Customer {n}", "email": f"c{n}@example.com"} for n in many]
hours = "Hi {{ customer.name }}, from Monday we open at 8."
draft = {"name": "Hours", "purpose": "transactional", "channels": ["email"], "audience": {"list": True}}
with Client() as hub:
    print(hub.import_customers(people).rows, "customers imported")
    hub.create_campaign(draft | {"messages": [{"subject": "New hours", "text": hours}]})
    print(hub.add_people("Hours", people).added, "people in the campaign")
    print(sum(each.goes for each in hub.check("Hours")), "of them would get it now")
    hub.start("Hours")
    done = hub.wait("Hours", progress=lambda stats: print("\r", stats, end="", flush=True))
    print("\nin all:", done.states)
